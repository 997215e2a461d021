"""Whisper watched over: what is drawn anew, what is nothing, and the numbers that say so."""

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutput

from speechllm.models import recognisers, watched, whispers
from tests import checkpoints

LOOP, FINE, OTHER = [1] * 99, [5, 6, 7], [8, 9]


def read(ids):
    """Each id is a word of its own."""
    return " ".join(f"word{id}" for id in ids)


@pytest.fixture
def tries(monkeypatch):
    """Let windows be said as listed, with mean log-probability; list the temperatures asked."""
    asked, plan = [], {}

    def generated(model, states, said):
        asked.append(said.get("temperature", 0.0))
        some = plan[asked[-1]]
        return [ids for ids, _ in some], [sure for _, sure in some]

    monkeypatch.setattr(watched, "_generated", generated)
    monkeypatch.setattr(watched, "_silent", lambda model, states: plan["silent"])
    return asked, plan


def said(n):
    return watched.said(None, BaseModelOutput(torch.zeros(n, 3, 4)), read, language="en")


def test_what_is_fine_stays(tries):
    asked, plan = tries
    plan |= {0.0: [(FINE, -0.3), (OTHER, -1.0)], "silent": [0.1, 0.9]}
    assert said(2) == [FINE, OTHER] and asked == [0.0]


def test_a_loop_is_drawn_until_it_is_none(tries):
    """Each window by itself; one that never ends stays as it came last."""
    asked, plan = tries
    plan |= {0.0: [(FINE, -0.3), (LOOP, -0.1)], 0.2: [(LOOP, -0.1)], 0.4: [(OTHER, -0.5)]}
    plan["silent"] = [0.0, 0.9]
    assert said(2) == [FINE, OTHER] and asked == [0.0, 0.2, 0.4]
    plan |= {t: [(LOOP, -0.1)] for t in watched.TEMPERATURES}
    asked.clear()
    assert said(2) == [FINE, LOOP] and asked == [0.0, *watched.TEMPERATURES]


def test_a_guess_is_drawn_anew_where_somebody_may_speak_and_nothing_where_nobody_does(tries):
    asked, plan = tries
    plan |= {0.0: [(FINE, -1.2), (OTHER, -1.2)], 0.2: [(OTHER, -0.9)], "silent": [0.5, 0.7]}
    assert said(2) == [OTHER, []] and asked == [0.0, 0.2]


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    folder = checkpoints.whisper(tmp_path_factory.mktemp("whisper"))
    recogniser = recognisers.load(str(folder), guarded=True)
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, 9000).astype(np.float32) for _ in range(3)]
    return recogniser, waves


@torch.inference_mode()
def test_the_numbers_are_those_of_the_network(heard):
    """The mean log-probability of what was said, its end too, by one pass over the whole text."""
    recogniser, waves = heard
    model = recogniser.model
    states = whispers.encoded(model, recogniser.frames(waves)["input_features"])
    found, sure = watched._generated(model, states, {})
    plain = model.generate(encoder_outputs=states)
    assert found == plain.tolist()
    config = model.generation_config
    end = config.eos_token_id
    begun = [config.decoder_start_token_id, config.no_timestamps_token_id]
    for row, ids in enumerate(found):
        text = ids[: ids.index(end)] if end in ids else ids  # padded with ends
        whole = torch.tensor([[*begun, *text]])
        one = BaseModelOutput(states[0][row : row + 1])
        scores = model(encoder_outputs=one, decoder_input_ids=whole).logits[0, 1:].log_softmax(-1)
        wanted = [scores[i, id].item() for i, id in enumerate(text)]
        if end in ids or scores[-1].argmax() == end:  # else it has come to its bound
            wanted.append(scores[-1, end].item())
        assert sure[row] == pytest.approx(sum(wanted) / len(wanted), abs=1e-4)


def test_a_text_is_the_same_alone_and_beside_others(heard):
    """Also one that is drawn anew, as those of a network that knows nothing are."""
    recogniser, waves = heard
    together = recogniser(waves)
    assert together == [recogniser([wave])[0] for wave in waves] == recogniser(waves)


def test_a_text_that_repeats_is_small():
    assert watched.ratio("la " * 50) > watched.RATIO
    assert watched.ratio("He hoped there would be stew for dinner, turnips and carrots.") < 1.5
    assert watched.ratio("") == 0.0
