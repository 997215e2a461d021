"""Mixtures: shares as asked, an order that is a pure function, words for what is wrong."""

from fractions import Fraction

import numpy as np
import pytest

from speechllm.data.mixing import Mixture, shares, sources
from speechllm.data.sampler import Sampler

SIZES = (40, 300, 7)


def mixture(weights=(1, 2, 0.5), temperature=1.0, seed=0):
    rng = np.random.default_rng(0)
    samplers = [Sampler(rng.uniform(1, 20, n), 60.0, seed=seed + k) for k, n in enumerate(SIZES)]
    return Mixture(samplers, SIZES, shares(weights, temperature))


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 0.5), (0.001, 1, 3), (5, 0.3, 0.3)])
def test_after_any_number_of_batches_each_source_has_its_share(weights):
    mixed, counts = mixture(weights), np.zeros(3)
    for number in range(3000):
        source, own = mixed.source(number)
        assert own == counts[source], "a source's batches are counted without gaps"
        counts[source] += 1
        wanted = (number + 1) * np.array(weights) / sum(weights)
        assert (abs(counts - wanted) < 3).all()


def test_a_batch_far_away_is_that_of_its_source():
    """No walking: the counts at 10**15 follow from the shares in whole numbers."""
    mixed, far = mixture((3, 1, 1)), 10**15
    assert mixed.shares == [Fraction(3, 5), Fraction(1, 5), Fraction(1, 5)]
    own = [mixed.source(far + k) for k in range(5)]
    assert sorted(source for source, _ in own) == [0, 0, 0, 1, 2]
    assert {n for source, n in own if source == 0} == {far * 3 // 5 + k for k in range(3)}


def test_batches_hold_the_examples_of_one_source_each_once_an_epoch():
    mixed, seen = mixture(), {}
    ends = np.cumsum(SIZES)
    for number, epoch, indices in mixed.batches():
        source, _ = mixed.source(number)
        assert set(np.searchsorted(ends, indices, side="right")) == {source}
        seen.setdefault((source, epoch), []).extend(indices.tolist())
        if (1, 1) in seen:
            break
    assert sorted(seen[1, 0]) == list(range(40, 340))
    assert sorted(seen[2, 0]) == list(range(340, 347)), "a small source begins again"


def test_resuming_anywhere_and_sharing_out_give_the_same_batches():
    def take(first, step, n):
        walk = mixture().batches(first, step)
        return [(b, e, i.tolist()) for _, (b, e, i) in zip(range(n), walk, strict=False)]

    whole = take(0, 1, 400)
    assert take(137, 1, 50) == whole[137:187]
    assert [b for pair in zip(take(0, 2, 100), take(1, 2, 100), strict=True) for b in pair] == (
        whole[:200]
    )


def test_one_source_is_its_sampler():
    sampler = Sampler(np.arange(1.0, 30.0), 60.0)
    mixed = Mixture([sampler], [29], shares([0.3]))
    for number in (0, 5, 1000):
        (a, i), (b, j) = mixed.batch(number), sampler.batch(number)
        assert a == b and list(i) == list(j)


def test_temperature_evens_out():
    assert shares([1, 9]) == [Fraction(1, 10), Fraction(9, 10)]
    assert shares([1, 9], 2.0) == [Fraction(1, 4), Fraction(3, 4)]
    assert shares([1, 9], float("inf")) == [Fraction(1, 2)] * 2
    assert shares([1, 4], 0.5) == [Fraction(1, 17), Fraction(16, 17)]
    with pytest.raises(ValueError, match="temperature: wanted a number above 0, got 0"):
        shares([1, 2], 0)


def test_sources_are_read_from_a_name_or_a_table():
    assert list(sources("train", "x")) == ["train"]
    made = sources({"a": 2, "b": {"weight": 0.5, "task": {"name": "copy"}}}, "x")
    assert made["a"].weight == 2 and made["b"].task == {"name": "copy"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "at least one manifest"),
        ({"a": 1, "b": {}}, "for each manifest, or for none; b: none"),
        ({"a": -1}, r"phase x data\.a: weight: wanted a number above 0, got -1"),
        ({"a": {"wieght": 1}}, "did you mean 'weight'"),
        ({"a": "b"}, "wanted a table"),
    ],
)
def test_wrong_tables_are_named(table, says):
    with pytest.raises(ValueError, match=says):
        sources(table, "phase x data")
