"""The C library: its variants agree, one can be picked, and life goes on without it."""

import threading
import time

import numpy as np
import pytest
import torch

import features
from features import fast, kernel

NAMES = ("kaldi_fbank80", "kaldi_mfcc13", "whisper80", "torchaudio_mel", "kaldi_spectrogram")


@pytest.fixture
def fresh(monkeypatch):
    """Forget the chosen variant before and after, and what the environment chooses."""
    for name in ("FEATURES_KERNEL", "FEATURES_FAST"):
        monkeypatch.delenv(name, raising=False)
    _forget()
    yield monkeypatch
    monkeypatch.undo()
    _forget()


def _forget():
    kernel.load.cache_clear()
    fast._plan.cache_clear()


def here() -> list[str]:
    """Variants that were built and run on this processor; skips where there is no library."""
    library, why = kernel.opened()
    if library is None:
        pytest.skip(why)
    return [name for name, number in kernel.VARIANTS.items() if library.features_runs(number)]


@pytest.mark.parametrize("name", NAMES)
def test_variants_agree(name, signals, fresh):
    """To 1e-6 of the largest value; those that fuse products and sums to the last bit."""
    found = {}
    for variant in here():
        fresh.setenv("FEATURES_KERNEL", variant)
        _forget()
        x, _ = features.get(name)(signals["speechlike"])
        found[variant] = x.double()
        assert variant in kernel.status()
    plain = found.pop("plain")
    for x in found.values():
        assert torch.equal(x, next(iter(found.values())))
        assert (x - plain).abs().mean() <= 1e-6 * plain.abs().max()


def test_a_variant_that_is_not_here_is_refused(fresh):
    for value in ("sse9", "neon" if "avx2" in here() else "avx512"):
        fresh.setenv("FEATURES_KERNEL", value)
        with pytest.raises(ValueError, match=f"FEATURES_KERNEL={value}|FEATURES_KERNEL='{value}'"):
            kernel.load()


@pytest.mark.parametrize("switch", ["FEATURES_KERNEL=torch", "FEATURES_FAST=0"])
def test_switched_off(switch, fresh, signals, near):
    wave = signals["speechlike"]
    x, _ = features.get("kaldi_fbank80")(wave)
    _forget()
    fresh.setenv(*switch.split("="))
    assert "absent" in kernel.status() and f"{switch} turns it off; unset it" in kernel.status()
    near(features.get("kaldi_fbank80"), wave, x)


@pytest.mark.parametrize("kind", ["none", "cut", "other"])
def test_without_a_library_torch_goes_on(kind, fresh, tmp_path, signals):
    """Not built, cut short, or of another version: said in one line with what to do."""
    fresh.setattr(kernel, "__file__", str(tmp_path / "kernel.py"))
    if kind == "cut":
        (tmp_path / "_kernel.so").write_bytes(b"\x7fELF")
    if kind == "other":
        here()
        place = next(iter(sorted(kernel.Path(fast.__file__).parent.glob("_kernel.*"))))
        (tmp_path / place.name).write_bytes(place.read_bytes())
        fresh.setattr(kernel, "Plan", type("Plan", (kernel.ctypes.Structure,), {"_fields_": []}))
    x, n = features.get("kaldi_fbank40")(signals["noise"])
    assert n and torch.isfinite(x).all()
    assert kernel.status().startswith("C kernel absent") and "reinstall" in kernel.status()
    assert "\n" not in kernel.status()


def test_the_gil_is_released():
    """While the kernel works on ten minutes, another thread counts on."""
    here()
    fbank, wave = features.get("kaldi_fbank80"), np.zeros(9_600_000, np.float32)
    fbank(wave)
    done, ticks = threading.Event(), []

    def work():
        for _ in range(5):
            fbank(wave)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.wait(0.001):
        ticks.append(time.perf_counter())
    thread.join()
    # five calls of some 20 ms: a waiting thread that the kernel held up would tick five times
    assert len(ticks) > 10
