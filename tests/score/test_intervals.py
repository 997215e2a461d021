"""Bootstrap: coverage of known truths, determinism, groups, and the paired test."""

import itertools

import numpy as np
import pytest

from speechllm.score import intervals
from speechllm.score.counting import named

wer = named("wer")


def corpus(rng, utterances, rate):
    words = rng.integers(5, 30, utterances)
    errors = rng.binomial(words, rate)
    zero = np.zeros_like(words)
    return np.stack([words - errors, errors, zero, zero], 1)


def test_interval_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        low, high = intervals.interval(corpus(rng, 200, 0.1), wer.score, resamples=400, seed=seed)
        hits += low <= 10 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_interval_has_the_width_of_theory():
    stats = corpus(np.random.default_rng(1), 3000, 0.1)
    low, high = intervals.interval(stats, wer.score)
    expected = 2 * 1.96 * np.sqrt(0.1 * 0.9 / stats.sum()) * 100
    assert high - low == pytest.approx(expected, rel=0.1)


def test_same_seed_same_interval_whatever_the_chunk(monkeypatch):
    stats = corpus(np.random.default_rng(2), 100, 0.2)
    first = intervals.interval(stats, wer.score, seed=3)
    assert first != intervals.interval(stats, wer.score, seed=4)
    monkeypatch.setattr(intervals, "_CHUNK", 700)
    assert first == intervals.interval(stats, wer.score, seed=3)


def test_groups_are_drawn_whole():
    stats = np.array([[9, 1, 0, 0], [1, 9, 0, 0]] * 50)
    one = intervals.interval(stats, wer.score, groups=["a"] * 100)
    two = intervals.interval(stats, wer.score, groups=["a", "b"] * 50)
    assert one == (50, 50) and two == (10, 90)


def test_undefined():
    assert np.isnan(intervals.interval(np.array([[0, 0, 0, 2]]), wer.score)).all()


def test_paired_finds_a_difference_that_is_there_and_none_that_is_not():
    rng = np.random.default_rng(5)
    a = corpus(rng, 500, 0.10)
    worse = a + np.array([-1, 1, 0, 0]) * (rng.random((500, 1)) < 0.2)
    found = intervals.paired(worse, a, wer.score)
    assert found.difference > 0 and found.low > 0 and found.p < 0.01
    shuffled = a[rng.permutation(500)]
    same = intervals.paired(a, shuffled, wer.score)
    assert same.difference == 0 and same.p == 1 and "a-b +0.00" in str(same)


def test_paired_false_alarms_are_rare():
    rng = np.random.default_rng(6)
    alarms = 0
    for seed in range(200):
        a, b = corpus(rng, 150, 0.1), corpus(rng, 150, 0.1)
        b[:, 0] = a.sum(1) - b[:, 1]  # the same words, other errors
        alarms += intervals.paired(a, b, wer.score, 300, seed, trials=1).p < 0.05
    assert alarms / 200 < 0.1


def test_randomisation_is_the_share_of_all_changes_of_places():
    """Every one of 2^10 ways to let two systems change places, counted, against the drawn ones."""
    rng = np.random.default_rng(10)
    a, b = corpus(rng, 10, 0.2), corpus(rng, 10, 0.3)
    b[:, 0] = a.sum(1) - b[:, 1]  # the same words
    coins = np.array(list(itertools.product([0, 1], repeat=10)))
    first, second = a.sum(0) + coins @ (b - a), b.sum(0) + coins @ (a - b)
    far = np.abs(wer.score(first) - wer.score(second))
    wanted = (far >= abs(wer.score(a.sum(0)) - wer.score(b.sum(0))) - 1e-9).mean()
    assert 0.1 < wanted < 0.9
    assert intervals.randomised(a, b, wer.score) == pytest.approx(wanted, abs=0.015)
    assert intervals.randomised(a, a, wer.score) == 1.0


def test_paired_wants_the_same_utterances():
    with pytest.raises(ValueError, match="same utterances, got 2 and 1"):
        intervals.paired(np.zeros((2, 4)), np.zeros((1, 4)), wer.score)
