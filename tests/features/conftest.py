"""Signals that front ends stumble over, the float64 specification, and how far apart is too far.

How far a float32 program may be from float64 is asked of the signal, not of one machine: the same
bin that one processor's transform rounds to 1e-5 another's rounds to 1e-4 where it is near-silent.
So each sample is moved as float32 moves it on the way (`ROUNDING`), and how far the float64
features go with that is the yardstick of `near`; where there is a reference, also how far that is
from float64.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import features  # noqa: F401  (before transformers, which imports torchaudio)

RATE = 16000
# a sample's deviation in units of the largest one within a frame: half a unit in the last place
# for each of DC removal, preemphasis, window and the nine passes of a transform, as a root of sums
ROUNDING = 4 * 2.0**-24
# how many times the yardstick: a bin of a thousand, and the worst one, are matters of luck
MARGIN = {"mean": 2.0, "p999": 8.0, "most": 8.0}
ULPS = {"mean": 2.0, "p999": 32.0, "most": 64.0}  # of the largest value: what sums of it round
ANOTHER = 1e-3  # mean; the nearest two definitions of log-mel are 2.7e-3 apart


@pytest.fixture(scope="session", autouse=True)
def threads():
    """One (see tests/conftest.py), or as many as OMP_NUM_THREADS says."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def reference():
    """The module `reference.py` beside this file."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("features_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_signals():
    """Name to wave, float32 in [-1, 1]; all samples lie on the 16-bit grid, as decoded ones do."""
    rng = np.random.default_rng(0)
    t = np.arange(4000) / RATE
    impulses = np.zeros(4000)
    impulses[[0, 399, 1000, 3999]] = 1.0
    signals = {
        "noise": 0.1 * rng.standard_normal(4321),
        "silence": np.zeros(2000),
        "dc": np.full(2000, 0.25),
        "noise_on_dc": 0.4 + 0.01 * rng.standard_normal(3000),
        "square": np.sign(np.sin(2 * np.pi * 440 * t + 0.1)) * 0.999,
        "slow_square": np.sign(np.sin(2 * np.pi * 10 * t + 0.1)) * 0.999,
        "tone": 0.9 * np.sin(2 * np.pi * 1000 * t) + 0.02 * rng.standard_normal(4000),
        "impulses": impulses * 0.9,
        "speechlike": _speechlike(rng),
    }
    on_grid = {name: np.round(wave * 32768) / 32768 for name, wave in signals.items()}
    return {name: wave.clip(-1, 1).astype(np.float32) for name, wave in on_grid.items()}


def _speechlike(rng):
    """A buzz with moving formants, pauses and a little noise."""
    t = np.arange(RATE) / RATE
    buzz = np.sign(np.sin(2 * np.pi * (120 * t + 6 * np.sin(3 * t)))) * (np.sin(9 * t) > -0.3)
    body = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(5 * t)) for f in (500, 1500, 2500))
    return 0.2 * buzz * body / 3 + 0.002 * rng.standard_normal(RATE)


@pytest.fixture(scope="session", params=list(make_signals()))
def signal(request):
    """Each awkward signal in turn."""
    return make_signals()[request.param]


@pytest.fixture(scope="session")
def signals():
    """All awkward signals by name."""
    return make_signals()


def apart(x, y):
    """Mean, 99.9th percentile and maximum of the differences between lists of arrays."""
    found = [np.abs(np.float64(a) - np.float64(b)).ravel() for a, b in zip(x, y, strict=True)]
    found = np.concatenate([*found, np.zeros(1)])
    return {"mean": found.mean(), "p999": np.quantile(found, 0.999), "most": found.max()}


def shaken(wave, length, rng):
    """A wave (N,) with as much noise as float32 arithmetic on frames of `length` makes of it."""
    wave = np.float64(wave)
    if not len(wave):
        return wave
    padded = np.pad(np.abs(wave), length, mode="edge")
    loud = np.lib.stride_tricks.sliding_window_view(padded, 2 * length + 1).max(1)
    return wave + ROUNDING * loud * rng.standard_normal(len(wave))


@pytest.fixture(scope="session")
def near():
    """Check that features are no further from float64 than the signal, or a reference, allows."""

    def check(fe, waves, theirs=None, show=lambda x: x, unit=1.0):
        """Of one wave, or of several with the reference's features of each, all together.

        `show` is applied to all features first; `unit`: what 1 in ln is in the features' own.
        """
        waves, theirs = ([waves], [theirs]) if isinstance(waves, np.ndarray) else (waves, theirs)
        single, double = (features.get(fe.name, **fe.options() | {"dtype": kind})
                          for kind in ("float32", "float64"))  # fmt: skip
        x, exact = ([np.asarray(show(f(w)[0])) for w in waves] for f in (single, double))
        assert all(np.isfinite(a).all() for a in x)
        rng = np.random.default_rng(98)  # not the signals' own
        length = getattr(fe._options, "frame_length", 1)
        moved = [show(double(shaken(w, length, rng))[0]) for w in waves]
        yard, found = apart(moved, exact), apart(x, exact)
        if theirs is not None and theirs[0] is not None:
            theirs = [np.asarray(show(y)) for y in theirs]
            assert [a.shape for a in x] == [y.shape for y in theirs]
            reference = apart(theirs, exact)
            assert reference["mean"] <= max(ANOTHER * unit, MARGIN["mean"] * yard["mean"])
            yard = {key: max(yard[key], reference[key]) for key in yard}
        large = max(8.0, *(np.abs(a).max(initial=0.0) for a in exact))  # before a cmvn, too
        ulp = np.finfo(np.float32).eps * large
        limits = {key: max(MARGIN[key] * yard[key], ULPS[key] * ulp) for key in yard}
        assert all(found[key] <= limits[key] for key in limits), (found, limits)

    return check


@pytest.fixture(scope="session")
def close():
    """Check that two arrays agree: mean, 99.9th percentile and maximum of the difference."""

    def check(x, y, mean=1e-5, p999=5e-4, most=2e-2):
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        assert x.shape == y.shape
        apart = np.abs(x - y)
        assert np.isfinite(x).all()
        if apart.size:
            found = apart.mean(), np.quantile(apart, 0.999), apart.max()
            assert found[0] <= mean and found[1] <= p999 and found[2] <= most, found

    return check
