"""The engine by itself: places are refilled, kinds take turns, who breaks spoils nobody."""

import numpy as np
import pytest

from speechllm.decode import search
from speechllm.decode.requests import Request
from speechllm.models.reading import Reading
from speechllm.serve.engine import AbandonedError, Engine, Job, Piece

RATE = 16000


def asked(backend, seed: int, bound: int, config=search.Config(max_repeats=0), told=None):  # noqa: B008
    wave = 0.1 * np.random.default_rng(seed).standard_normal(RATE).astype(np.float32)
    return backend.chat(Request([wave], "low"), bound, config, Job(), told)


@pytest.fixture
def alone(speech):
    def text(piece: Piece) -> str:
        request, bound, _ = piece.ask
        return speech.answers([request], [bound], max_repeats=0)[0].text

    return text


@pytest.fixture
def widths(monkeypatch):
    """Lines that the LLM reads in each step."""
    widths, step = [], Reading.step
    monkeypatch.setattr(
        Reading, "step", lambda self, ids: (widths.append(len(ids)), step(self, ids))[1]
    )
    return widths


def test_places_are_refilled(backend, alone, widths):
    told: list[list[str]] = [[] for _ in range(9)]
    pieces = [asked(backend, i, 4 + 40 * (i == 0), told=told[i].append) for i in range(9)]
    wanted = [alone(piece) for piece in pieces]
    widths.clear()
    engine = Engine(backend, 2.0)
    for piece in pieces:
        engine.submit(piece)
    with engine:
        answers = [piece.answer.result(20) for piece in pieces]
        assert [one.text for one in answers] == wanted
    # the long answer went on beside all others, two at a time
    assert len(widths) < 50 and widths.count(2) > 20 and max(widths) == 2
    assert told[0][-1].startswith(wanted[0]) and len(told[0]) > 30
    assert all(one.n_prompt > 4 and one.stop in ("eos", "length") for one in answers)


def test_another_kind_gets_its_turn(backend, alone):
    beams = search.Config(num_beams=2)
    pieces = [asked(backend, i, 20) for i in range(3)]
    pieces += [asked(backend, 3, 5, beams)] + [asked(backend, i, 20) for i in range(4, 7)]
    order = []
    for i, piece in enumerate(pieces):
        piece.answer.add_done_callback(lambda _, i=i: order.append(i))
    engine = Engine(backend, 1.0)
    for piece in pieces:
        engine.submit(piece)
    with engine:
        for piece in pieces:
            piece.answer.result(20)
    assert order == list(range(7))


def test_who_leaves_makes_room_and_what_breaks_breaks_alone(backend, alone, monkeypatch):
    leaves = asked(backend, 0, 200, told=lambda text: leaves.job.cancel())
    broken, too_short = asked(backend, 1, 5), asked(backend, 2, 5)
    too_short.ask[0].waves[0] = too_short.ask[0].waves[0][:10]
    others = [asked(backend, i, 9) for i in range(3, 6)]
    real = backend._batch

    def batch(answerer, pieces):
        if broken in pieces:
            raise RuntimeError("out of memory")
        return real(answerer, pieces)

    monkeypatch.setattr(type(backend), "_batch", lambda self, *given: batch(*given))
    engine = Engine(backend, 3.0)
    for piece in (leaves, others[0], broken, others[1], too_short, others[2]):
        engine.submit(piece)
    with engine:
        with pytest.raises(AbandonedError):
            leaves.answer.result(20)
        with pytest.raises(RuntimeError, match="out of memory"):
            broken.answer.result(20)
        with pytest.raises(ValueError, match="too short"):
            too_short.answer.result(20)
        assert [piece.answer.result(20).text for piece in others] == [alone(p) for p in others]
