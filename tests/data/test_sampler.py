"""The order is a pure function of (seed, batch number)."""

from itertools import islice

import numpy as np
import pytest

from speechllm.data.sampler import Sampler


@pytest.fixture
def lengths():
    return np.random.default_rng(0).uniform(1, 20, size=317)


def take(sampler, n, **options):
    return [(b, e, list(i)) for b, e, i in islice(sampler.batches(**options), n)]


def test_each_epoch_has_every_example_once_and_as_many_batches(lengths):
    sampler = Sampler(lengths, 60.0, seed=1)
    for epoch in range(3):
        batches = sampler.epoch(epoch)
        assert len(batches) == len(sampler)
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))


def test_batches_keep_to_the_seconds(lengths):
    for batch in Sampler(lengths, 60.0, max_rows=16).epoch(0):
        assert len(batch) * lengths[batch].max() <= 60.0
        assert len(batch) <= 16


def test_resuming_anywhere_gives_the_same_batches(lengths):
    sampler = Sampler(lengths, 60.0, seed=1)
    whole = take(sampler, 200)
    for first in (1, 57, len(sampler), 150):
        assert take(Sampler(lengths, 60.0, seed=1), 20, first=first) == whole[first : first + 20]


def test_processes_share_out_the_batches_of_one(lengths):
    sampler = Sampler(lengths, 60.0, seed=1)
    shares = [take(sampler, 30, first=rank, step=2) for rank in (0, 1)]
    both = [b for pair in zip(*shares, strict=True) for b in pair]
    assert both == take(sampler, 60)


def test_epochs_and_seeds_differ(lengths):
    sampler = Sampler(lengths, 60.0, seed=1)
    first = [list(b) for b in sampler.epoch(0)]
    assert first != [list(b) for b in sampler.epoch(1)]
    assert first != [list(b) for b in Sampler(lengths, 60.0, seed=2).epoch(0)]


def test_without_shuffling_the_longest_come_first(lengths):
    batches = Sampler(lengths, 60.0, shuffle=False).epoch(0)
    order = np.concatenate(batches)
    assert (np.diff(lengths[order]) <= 0).all()


def test_an_example_longer_than_a_batch_stands_alone():
    assert [list(b) for b in Sampler(np.array([100.0, 1.0]), 60.0).epoch(0)] != []
    assert sorted(map(list, Sampler(np.array([100.0, 1.0]), 60.0).epoch(0))) == [[0], [1]]


def test_no_examples():
    with pytest.raises(ValueError, match="the manifest is empty"):
        Sampler(np.array([]), 60.0)


@pytest.mark.parametrize("n", [57, 400])
def test_the_batches_of_a_step_are_of_like_lengths(n):
    """Each example once an epoch still; but for the steps between epochs, a step is of one kind."""
    lengths = np.random.default_rng(0).gamma(4, 3, n)
    plain, block = Sampler(lengths, 60.0, seed=1), 8
    sampler = Sampler(lengths, 60.0, seed=1, block=block)
    assert len(sampler) == len(plain)
    spread = {}
    for name, one in (("plain", plain), ("block", sampler)):
        epochs = [one.epoch(epoch) for epoch in range(3)]
        for batches in epochs:
            assert sorted(np.concatenate(batches)) == list(range(n))
        longest = [lengths[batch].max() for batches in epochs for batch in batches]
        steps = [longest[i : i + block] for i in range(0, len(longest) - block + 1, block)]
        spread[name] = np.median([max(step) - min(step) for step in steps])
    assert spread["block"] < spread["plain"] / 2
    assert [b.tolist() for b in sampler.epoch(0)] != [b.tolist() for b in sampler.epoch(1)]
