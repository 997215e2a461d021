"""CTC against the sum over all paths, what it counts, and what it reads."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.data.batch import Batch, Kind, Media
from speechllm.objectives import ctc

V = 3  # the blank is number 3


def batch(answers):
    """Rows of a slot, a prompt token, the answer and its close, padded on the left."""
    size = 3 + max(map(len, answers))
    ids = torch.zeros(len(answers), size, dtype=torch.long)
    kinds = torch.full((len(answers), size), int(Kind.PAD))
    for row, answer in enumerate(answers):
        own = [Kind.SLOT, Kind.PROMPT, *[Kind.ANSWER] * len(answer), Kind.CLOSE]
        ids[row, -len(own) :] = torch.tensor([0, 1, *answer, 2])
        kinds[row, -len(own) :] = torch.tensor([int(k) for k in own])
    starts = (kinds == Kind.SLOT).nonzero()
    return Batch(
        ids=ids, labels=ids, positions=ids, segments=(kinds > 0).long(), kinds=kinds,
        media={"audio": Media(torch.zeros(len(answers), 4, 1), torch.full((len(answers),), 4))},
        slots=nn.functional.pad(starts, (0, 1), value=1), names=tuple(map(str, answers)),
    )  # fmt: skip


def objective(**table):
    """An objective whose head gives the states themselves as logits."""
    model = SimpleNamespace(encoder_dim=V + 1, width=V + 1, vocab_size=V, adapter=None)
    made = config.part("objectives", {"name": "ctc", **table}, "test").build(model)
    made.head.head = nn.Identity()
    return made


def run(b, states, lengths):
    return SimpleNamespace(batch=b, states=(states, torch.tensor(lengths)))


def collapsed(path):
    return [k for k, _ in itertools.groupby(path) if k != V]


def negative_log_likelihood(logits, target):
    """Of a target (U,) given logits (L, V + 1), by its definition: the sum over all paths."""
    logs = logits.double().log_softmax(-1).tolist()
    paths = itertools.product(range(V + 1), repeat=len(logs))
    found = (p for p in paths if collapsed(p) == target)
    return -math.log(sum(math.exp(sum(r[k] for r, k in zip(logs, p, strict=True))) for p in found))


def test_equals_the_sum_over_all_paths():
    """Of the valid steps alone, repeated labels among them; the count is of target tokens."""
    torch.manual_seed(0)
    answers, lengths = [[1, 1], [2], [0, 1, 2]], [5, 2, 4]
    states, b = torch.randn(3, 5, V + 1) * 2, batch(answers)
    loss, count = objective()(run(b, states, lengths))
    rows = zip(states, lengths, answers, strict=True)
    wanted = sum(negative_log_likelihood(x[:n], target) for x, n, target in rows)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    assert int(count) == objective().count(b) == 6


def test_a_target_without_an_alignment_adds_nothing():
    """Two equal labels want a blank between them, so three steps."""
    torch.manual_seed(0)
    states = torch.randn(2, 4, V + 1, requires_grad=True)
    loss, count = objective()(run(batch([[1, 1], [2]]), states, [2, 4]))
    assert loss.item() == pytest.approx(negative_log_likelihood(states[1].detach(), [2]), rel=1e-5)
    assert int(count) == 1  # the tokens of the other one are not counted either
    loss.backward()
    assert not states.grad[0].any() and states.grad[1].isfinite().all()


def test_targets_that_cannot_be_aligned_are_known_before_any_pass():
    """One function of lengths says which, and both counts agree; packed or not, they are named."""
    b = batch([[1, 1, 2, 0], [2], [0, 1, 2, 0]])
    made = objective()
    assert made.left_out(b) == ["[1, 1, 2, 0]"] and made.count(b) == 5
    made.counts = (lambda n: n // 2,)
    assert made.left_out(b) == ["[1, 1, 2, 0]", "[0, 1, 2, 0]"] and made.count(b) == 1
    result = run(b, torch.zeros(3, 2, V + 1), [2, 2, 2])
    assert int(made(result)[1]) == 1
    assert [int(x) for x in made.metrics(result)["left_out"]] == [2, 0]
    one = {k: getattr(b, k).reshape(1, -1) for k in ("ids", "kinds")}
    size = b.ids.shape[1]
    slots = torch.tensor([[0, i * size, 1] for i in range(3)])
    segments = torch.arange(1, 4).repeat_interleave(size)[None]
    packed = replace(b, **one, segments=segments, slots=slots)
    assert made.left_out(packed) == made.left_out(b)


def test_best_path_and_token_errors():
    """Repeats are merged, those with a blank between stay two; beyond the end nothing is read."""
    paths, lengths = [[1, 1, V, 1, 2, 2], [V, V, 0, 0, 1, 1]], [6, 4]
    states = nn.functional.one_hot(torch.tensor(paths), V + 1).float()
    result = run(batch([[1, 1, 2], [0, 2]]), states, lengths)
    assert objective().head.greedy(result) == [[1, 1, 2], [0]]
    errors, tokens = objective().metrics(result)["token_errors"]
    assert (int(errors), int(tokens)) == (1, 5)


def test_of_a_packed_row_each_medium_has_its_own_answer():
    b = batch([[1, 2], [2, 0]])
    one = {k: getattr(b, k).reshape(1, -1) for k in ("ids", "kinds")}
    segments = torch.arange(1, 3).repeat_interleave(b.ids.shape[1])[None]
    slots = torch.tensor([[0, 0, 1], [0, b.ids.shape[1], 1]])
    packed = replace(b, **one, segments=segments, slots=slots)
    assert [t.tolist() for t in objective().targets(packed)] == [[1, 2], [2, 0]]


def test_text_alone_adds_nothing():
    text = SimpleNamespace(batch=SimpleNamespace(media={}, ids=torch.zeros(1, 3)))
    assert [float(x) for x in objective()(text)] == [0, 0] and objective().metrics(text) == {}


def test_bad_settings():
    with pytest.raises(ValueError, match="'encoder', 'adapter' or 'posterior', got 'llm'"):
        ctc.Config(on="llm")
    with pytest.raises(ValueError, match="wants an adapter with a CTC head"):
        objective(on="posterior")
