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


@pytest.mark.parametrize("n", [57, 1000])
def test_the_batches_of_a_step_cost_the_same(n):
    """Each example once an epoch still; little is waited for the largest batch of a step."""
    lengths = np.random.default_rng(0).gamma(4, 3, n)
    block, waited = 8, []
    plain, sampler = Sampler(lengths, 60.0, seed=1), Sampler(lengths, 60.0, seed=1, block=block)
    assert len(sampler) == len(plain)
    for one in (plain, sampler):
        epochs = [one.epoch(epoch) for epoch in range(3)]
        for batches in epochs:
            assert sorted(np.concatenate(batches)) == list(range(n))
        costs = [one.cost(batch) for batches in epochs for batch in batches]
        steps = np.array(costs[: len(costs) // block * block]).reshape(-1, block)
        waited.append(1 - steps.sum() / steps.max(1).sum() / block)
    if n > 100:  # else there are three steps in an epoch
        assert waited[1] < waited[0] * 0.2, waited
    assert [b.tolist() for b in sampler.epoch(0)] != [b.tolist() for b in sampler.epoch(1)]
