"""In bfloat16 a greedy answer is the same, score and all, alone, beside others and drafted."""

import pytest
import torch

from speechllm.decode import many, search
from speechllm.decode.ask import Answerer
from speechllm.models import alike
from tests.decode.searched import batch_of, hearing, made

BOUNDS = [12, 30, 7, 21]


@pytest.fixture(params=[lambda m: False, lambda m: m == 1, lambda m: m % 3 == 0])
def answerer(request, tiny, monkeypatch):
    """Give what answers, and its system, where products depend on how many rows they have."""
    monkeypatch.setattr(alike, "_shown", {})
    monkeypatch.setattr(alike, "SEEN", 2**11)  # so that trying is quick
    linear, strange = torch.nn.functional.linear, request.param

    def other(x, weight, bias=None):
        if not strange(x.numel() // x.shape[-1]) or bias is not None:
            return linear(x, weight, bias)
        n = x.shape[-1] // 2  # two sums, each of them rounded
        return linear(x[..., :n], weight[:, :n]) + linear(x[..., n:], weight[:, n:])

    monkeypatch.setattr(torch.nn.functional, "linear", other)
    system, model = made(tiny, "letters")
    model.llm.bfloat16()
    hearing(monkeypatch, system, model, "low hihi say")
    return lambda **settings: Answerer(
        system, model, search.Config(max_repeats=0, **settings)
    ), system


def told(answers):
    """Ids and scores, the last bit too."""
    return [(answer.ids, answer.score) for answer in answers]


def test_one_text_however_it_was_asked(answerer, tiny):
    made_with, system = answerer
    plain, drafted = made_with(), made_with(draft="ctc")
    batches = [batch_of(system, tiny, [i]) for i in range(4)]
    alone = [plain(batch, [n])[0] for batch, n in zip(batches, BOUNDS, strict=True)]
    assert len({len(answer.ids) for answer in alone}) > 1
    together = made_with(exact=True)(batch_of(system, tiny), BOUNDS)
    assert told(together) == told(alone)
    by_draft = [drafted(batch, [n])[0] for batch, n in zip(batches, BOUNDS, strict=True)]
    assert told(by_draft) == told(alone)


def test_what_flows_is_as_alone(answerer, tiny):
    """Others begin where some have ended."""
    made_with, system = answerer
    plain = made_with()

    def make(rows):
        return batch_of(system, tiny, rows), [BOUNDS[i] for i in rows]

    alone = [plain(*make([i]))[0] for i in range(4)]
    by_itself = many.waiting((many.Group([i], 1.0, make) for i in range(4)), 1.0)
    found = dict(one for _, ended in many.answered(plain, by_itself, 1.0) for one in ended)
    assert told(found[i] for i in range(4)) == told(alone)
    exact = made_with(exact=True)
    groups = many.waiting((many.Group(rows, len(rows), make) for rows in ([0, 1], [3], [2])), 3.0)
    found = dict(one for _, ended in many.answered(exact, groups, 3.0) for one in ended)
    assert told(found[i] for i in range(4)) == told(alone)


def test_exact_is_for_one_line_a_row():
    with pytest.raises(ValueError, match="exact: is for the LLM's search without beams"):
        search.Config(exact=True, num_beams=2)
    assert "exact" not in search.Config().facts() and search.Config(exact=True).facts()["exact"]
