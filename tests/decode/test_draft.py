"""Drafts change no greedy answer, whatever they say; good ones save passes."""

import random

import pytest
import torch

from speechllm.decode import search
from speechllm.decode.ask import Answerer
from speechllm.decode.draft import FIRST, MOST, Draft
from speechllm.models.reading import Reading
from tests.decode.searched import UNGUARDED, batch_of, hearing, made, only


class Right:
    """A draft that knows the answer, but for every `wrong`th of its tokens; 0: all of it."""

    def __init__(self, ids, end, wrong=0):
        self.ids, self.wrong = [*ids, end], wrong

    def rest(self, ids):
        rest = self.ids[len(ids) :]
        if not self.wrong:
            return rest
        return [4 + id % 5 if i % self.wrong == self.wrong - 1 else id for i, id in enumerate(rest)]


class Random:
    """A draft of anything."""

    def rest(self, ids):
        rng = random.Random(len(ids))
        return [rng.randrange(4, 30) for _ in range(rng.randrange(12))]


def drafted(model, batch, bound, stops, pad, draft, config=UNGUARDED):
    """Search with a draft; also what came pass by pass."""
    steps = search.said(model(batch), [bound], stops, pad, config, draft=draft)
    passes = []
    while True:
        try:
            passes.append([id for _, id in next(steps)])
        except StopIteration as end:
            return end.value[0], passes


@torch.no_grad()
def test_no_draft_changes_an_answer(prompts):
    """Of any kind of LLM; with ends of all three kinds."""
    model, batch, pad = prompts
    for row, (bound, guard) in enumerate([(30, 0), (30, 2), (7, 0), (1, 0)]):
        config = search.Config(max_repeats=guard)
        alone = only(batch, row)
        (long,) = search.answers(model(alone), [bound], (), pad, config)
        for stops in ((), long.ids[len(long.ids) // 2 :][:1]):
            (wanted,) = search.answers(model(alone), [bound], stops, pad, config)
            for draft in (Right(wanted.ids, 3), Right(wanted.ids, 3, wrong=4), Random()):
                found, passes = drafted(model, alone, bound, stops, pad, draft, config)
                assert found == wanted and found.score == pytest.approx(wanted.score, abs=1e-4)
                assert sum(passes, [])[: len(found.ids)] == found.ids


@torch.no_grad()
def test_a_right_draft_saves_passes(prompts, monkeypatch):
    model, batch, pad = prompts
    alone, read = only(batch, 0), []
    (wanted,) = search.answers(model(alone), [30], (), pad, UNGUARDED)
    ahead = Reading.ahead
    monkeypatch.setattr(
        Reading, "ahead", lambda self, ids: (read.append(len(ids)), ahead(self, ids))[1]
    )
    found, passes = drafted(model, alone, 30, (), pad, Right(wanted.ids, 3))
    most = min(MOST, model(alone).layout.ids.shape[1] - 2)
    assert found.ids == wanted.ids and len(passes) == 1 + len(read)
    assert read[0] == 1 + min(FIRST, most) and max(read) <= 1 + most
    assert len(read) <= 2 + 29 // (1 + min(FIRST, most))


def draft_of(text: str) -> Draft:
    """A draft whose tokens are letters, by their numbers; 0 ends."""
    return Draft(text, lambda t: [ord(c) for c in t], lambda ids: "".join(map(chr, ids)), 0)


@pytest.mark.parametrize(
    ("said", "rest"),
    [
        ("", "having returned to the royal cavern"),
        ("Hav", "ing returned to the royal cavern"),
        ("having returned, to", " the royal cavern"),
        ("halving", " returned to the royal cavern"),
        ("having turned", " to the royal cavern"),
        ("having been returned to", " the royal cavern"),
        ("having to the royal", " cavern"),
        ("having returned to the royal cabin", ""),
    ],
)
def test_a_draft_goes_on_where_the_answer_is(said, rest):
    """Letters more, less and others; whole words too; asked once or after each letter."""
    text = "having returned to the royal cavern"
    once, often = draft_of(text), draft_of(text)
    for n in range(len(said)):
        often.rest([ord(c) for c in said[:n]])
    for draft in (once, often):
        found = draft.rest([ord(c) for c in said])
        assert found[-1] == 0 and "".join(map(chr, found[:-1])) == rest


def test_a_draft_of_nothing_is_an_end():
    assert draft_of("").rest([]) == [0] and draft_of("").rest([97]) == [0]


@torch.no_grad()
def test_the_heads_draft_is_taken(tiny, monkeypatch):
    """From what a head hears to the answer; several rows go without."""
    system, model = made(tiny, "letters")
    hearing(monkeypatch, system, model, "low hihi say")
    plain, fast = Answerer(system, model), Answerer(system, model, search.Config(draft="ctc"))
    rests, rest = [], Draft.rest
    monkeypatch.setattr(
        Draft, "rest", lambda self, ids: (rests.append(self.text), rest(self, ids))[1]
    )
    for row in range(3):
        batch = batch_of(system, tiny, [row])
        assert fast(batch, [12]) == plain(batch, [12])
    assert set(rests) == {"low hihi say"}
    rests.clear()
    batch = batch_of(system, tiny)
    assert fast(batch, [12] * 4) == plain(batch, [12] * 4) and not rests


@pytest.mark.parametrize("other", [{"num_beams": 2}, {"temperature": 1.0}, {"by": "ctc"}])
def test_drafts_are_for_greedy_answers(other):
    with pytest.raises(ValueError, match="draft: is for the LLM's greedy search"):
        search.Config(draft="ctc", **other)
    assert "draft" not in search.Config(draft="ctc").facts(), "the answers are the same"
