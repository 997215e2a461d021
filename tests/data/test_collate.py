"""Packing: which examples share a row, and what the batch then says of them."""

import random

import pytest
import torch

from speechllm import config
from speechllm.data import loader
from speechllm.data.batch import Kind, positions_of
from speechllm.data.chat import Encoded
from speechllm.data.collate import collate, fill
from speechllm.data.examples import Example
from speechllm.train.phases import phases


def test_rows_hold_every_example_once_and_never_too_much():
    rng = random.Random(0)
    for _ in range(200):
        lengths = [rng.randint(1, 60) for _ in range(rng.randint(1, 20))]
        rows = fill(lengths, 40)
        assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
        assert all(len(row) == 1 or sum(lengths[i] for i in row) <= 40 for row in rows)
        fullest = [sum(lengths[i] for i in row) for row in rows]
        assert sum(size <= 20 for size in fullest) <= 1, "two half-empty rows would fit into one"


def test_without_a_size_each_has_its_row():
    assert fill([3, 9, 1], 0) == [[0], [1], [2]]


def test_positions_restart_with_each_example():
    segments = torch.tensor([[0, 0, 1, 1, 1, 2, 2, 3], [1, 1, 1, 1, 2, 3, 3, 3]])
    wanted = [[0, 0, 0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 0, 1, 2]]
    assert positions_of(segments).tolist() == wanted


@pytest.fixture
def examples(make_run, tmp_path):
    run = make_run(tmp_path)
    made = run.examples(phases(run.system.preset)[1], run.manifests["train"], learning=False)
    return [made.make(0, i) for i in range(6)], run.system.tokenizer.pad_token_id


def test_a_packed_batch_holds_what_its_examples_hold(examples):
    """Ids, labels, slots and media of each example, found again by its segment."""
    made, pad = examples
    batch = collate(made, pad, pack=60)
    assert batch.packed and len(batch.ids) < len(made) and batch.ids.shape[1] <= 60
    by_name = {e.row["id"]: e for e in made}
    places = [(r, n) for r in range(len(batch.ids)) for n in range(1, batch.segments[r].max() + 1)]
    for m, ((row, number), name) in enumerate(zip(places, batch.names, strict=True)):
        example, here = by_name[name], batch.segments[row] == number
        assert batch.ids[row][here].tolist() == example.encoded.ids
        assert batch.labels[row][here].tolist() == example.encoded.labels
        assert batch.positions[row][here].tolist() == list(range(int(here.sum())))
        _, start, count = batch.slots[m].tolist()
        assert count == example.encoded.slots[0][1] and batch.segments[row, start] == number
        assert torch.equal(batch.media["audio"].x[m, : example.lengths[0]], example.media[0])


def test_shortened_slots_keep_examples_apart(examples):
    """`fit` closes gaps in each example of a row; positions restart as before."""
    made, pad = examples
    batch = collate(made, pad, pack=60)
    lengths = (batch.slots[:, 2] - torch.arange(len(made)) % 3).clamp(min=1)
    fitted = batch.fit(lengths)
    assert (fitted.kinds == Kind.SLOT).sum() == lengths.sum()
    assert torch.equal(fitted.positions, positions_of(fitted.segments))
    for (row, start, count), before in zip(
        fitted.slots.tolist(), batch.slots.tolist(), strict=True
    ):
        assert row == before[0] and (fitted.kinds[row, start : start + count] == Kind.SLOT).all()
        assert fitted.segments[row, start] == batch.segments[row, before[1]]
    for row in range(len(batch.ids)):
        kept, left = batch.kinds[row] > Kind.SLOT, fitted.kinds[row] > Kind.SLOT
        assert batch.ids[row][kept].tolist() == fitted.ids[row][left].tolist()


def test_an_example_that_is_an_answer_alone_is_not_learned_from_its_neighbour():
    """Plain text, without bos: its first token has nothing before it, packed or not."""
    text = Encoded([5, 6, 7], [Kind.ANSWER] * 3, [])
    batch = collate([Example({"id": name}, text, [], []) for name in "ab"], 0, pack=10)
    assert batch.ids.tolist() == [[5, 6, 7, 5, 6, 7]]
    assert batch.wanted.tolist() == [[True, True, False, True, True]]


def test_the_setting_reaches_the_batches(make_run, tmp_path):
    run = make_run(tmp_path, "data.pack=80", "data.max_batch_s=20.0")
    phase = phases(run.system.preset)[1]
    data, made = run.data(phase), run.examples(phase, run.manifests["train"], learning=False)
    assert data.pack == 80
    number, batch, _ = next(loader.batches(made, data, [(0, 0, range(6))]))
    assert batch.packed and len(batch.ids) < 6 == len(batch.names)
    with pytest.raises(ValueError, match="pack: wanted a number at least 0, got -1"):
        config.fill(loader.Config, {"pack": -1}, "test")
