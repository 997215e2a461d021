"""What may be said next: each filter alone, on scores made by hand."""

import pytest
import torch

from speechllm.decode import filters
from speechllm.decode.filters import Allow, Line


def left(one, *said):
    """The ids that a filter leaves to each line, of eight."""
    lines = [Line(row, list(ids)) for row, ids in enumerate(said)]
    scores = Allow([one], ["a"] * len(said))(torch.zeros(len(said), 8), lines)
    return [[i for i, score in enumerate(row) if score > -torch.inf] for row in scores.tolist()]


def test_suppressed():
    assert left(filters.suppressed([0, 5]), [5]) == [[1, 2, 3, 4, 6, 7]]


@pytest.mark.parametrize(
    ("n", "said", "never"),
    [
        (1, [3, 4], {3, 4}),
        (2, [3, 4, 3], {4}),
        (2, [3, 3], {3}),
        (3, [1, 2, 5, 1, 2], {5}),
        (3, [1, 2, 5, 1, 3], set()),
        (3, [1, 2], set()),
        (2, [], set()),
    ],
)
def test_no_repeat(n, said, never):
    assert left(filters.no_repeat(n), said) == [[i for i in range(8) if i not in never]]


def test_no_repeat_of_nothing():
    with pytest.raises(ValueError, match="size of an n-gram, 1 or more, got 0"):
        filters.no_repeat(0)


def test_forced():
    assert left(filters.forced([6, 2]), [], [6], [6, 2]) == [[6], [2], list(range(8))]


def test_the_scores_given_stay_as_they_are():
    """They are what an answer is scored by."""
    scores = torch.zeros(1, 8)
    Allow([filters.forced([1])], ["a"])(scores, [Line(0, [])])
    assert not scores.any()


def test_loops_of_several_tokens_and_honest_repetition():
    rows = [
        [9, 1, 2, 1, 2, 1, 2],
        [1, 2, 3, 1, 2, 3, 1],
        [4, 4, 5, 6, 4, 4, 4],
        [1, 2, 3, 4, 5, 6, 7],
    ]
    assert [filters.loops(row, 3) for row in rows] == [True, False, True, False]
    assert not filters.loops(rows[0], 0)
