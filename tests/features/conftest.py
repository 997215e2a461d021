"""Signals that front ends stumble over, the float64 specification, and how far apart is too far."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import features  # noqa: F401  (before transformers, which imports torchaudio)

RATE = 16000


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
