"""Samples on Kaldi's scale: asked about once, and not where somebody chose the scale."""

import warnings

import numpy as np
import pytest
import torch

import features
from features import scale

NOISE = 0.1 * np.random.default_rng(0).standard_normal(4000).astype(np.float32)


@pytest.fixture(autouse=True)
def nobody_was_asked(monkeypatch):
    monkeypatch.setattr(scale, "_asked", set())


@pytest.mark.parametrize("name", ["kaldi_fbank80", "whisper80", "wave16k"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_asked_once(name, kind):
    fe = features.get(name)
    with pytest.warns(UserWarning, match=rf"{name} expects samples in \[-1, 1\], and these go to"):
        fe(kind(NOISE * 32768))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fe(kind(NOISE * 32768))
        features.get(name)(kind(NOISE * 32768))


def test_asked_in_a_stream():
    with pytest.warns(UserWarning, match="expects samples in"):
        features.get("kaldi_fbank80").stream()(NOISE * 32768)


def test_not_asked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features.get("kaldi_fbank80")((NOISE * 15).clip(-1.9, 1.9))  # hot, and resampled
        features.get("kaldi_fbank80", scale=1.0)(NOISE * 32768)
        features.get("wave16k", normalize=True)(NOISE * 32768)
