"""Frame arithmetic against counting by hand."""

import numpy as np
import pytest

from features import frames

RULES = [
    {"snip_edges": True},
    {"snip_edges": False},
    {"center": True},
    {"center": True, "drop_last": True},
]


@pytest.mark.parametrize(("length", "shift"), [(400, 160), (7, 3), (5, 5), (3, 8), (1, 1)])
def test_snip_edges_counts_the_frames_that_fit(length, shift):
    for n in range(60):
        fit = sum(start + length <= n for start in range(0, n + 1, shift))
        assert frames.num_frames(n, length, shift) == fit


@pytest.mark.parametrize("rule", RULES)
def test_count_never_falls_and_grows_by_one_a_shift(rule):
    counts = [frames.num_frames(n, 400, 160, **rule) for n in range(3000)]
    assert counts[0] == 0
    assert set(np.diff(counts)) <= {0, 1}
    assert counts[2000 + 160] == counts[2000] + 1


def test_first_samples():
    assert [frames.first_sample(t, 400, 160) for t in range(3)] == [0, 160, 320]
    assert frames.first_sample(0, 400, 160, snip_edges=False) == -120
    assert frames.first_sample(2, 400, 160, center=True) == 120


@pytest.mark.parametrize("n", [2, 3, 10])
def test_edges_are_those_of_numpy(n):
    wave = np.arange(n)
    index = np.arange(-25, n + 25)
    assert (wave[frames.mirror(index, n)] == np.pad(wave, 25, mode="symmetric")).all()
    assert (wave[frames.reflect(index, n)] == np.pad(wave, 25, mode="reflect")).all()
    assert frames.mirror(-1, n) == 0 and frames.reflect(-1, n) == 1


def test_edges_of_one_sample():
    assert (frames.reflect(np.arange(-5, 6), 1) == 0).all()
    assert (frames.mirror(np.arange(-5, 6), 1) == 0).all()
