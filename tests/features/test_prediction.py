"""PLP: what linear prediction finds, silence, and what is too much for the kernel.

`test_parity` holds the preset against the specification, `test_fast` its kernel against torch.
"""

import numpy as np
import torch

import features
from features import fast, prediction, presets


def test_the_recursion_finds_the_filter_that_made_the_lags():
    """1 / A with two resonances: its own autocorrelation gives A back, and the noise's power."""
    poles = np.array([0.9 * np.exp(0.5j), 0.8 * np.exp(1.7j)])
    filter_ = np.poly(np.concatenate([poles, poles.conj()])).real
    power = 0.25 / np.abs(np.fft.fft(filter_, 4096)) ** 2
    lags = torch.from_numpy(np.fft.ifft(power).real[:5])
    found, error = prediction._durbin(torch.stack([lags, 3 * lags]))
    assert np.allclose(found, np.stack([filter_[1:]] * 2)) and np.allclose(error, [0.25, 0.75])
    ceps = torch.stack(prediction._cepstrum(found, 4), -1)
    sums = [2 * (poles**n).sum().real / n for n in range(1, 5)]
    assert np.allclose(ceps[0], sums) and np.allclose(ceps[1], sums)


def test_silence_has_cepstra():
    """Kaldi gives no numbers there: it divides by an energy of 0."""
    for options in ({}, {"use_energy": False}, {"dtype": "float64"}):
        x, _ = features.get("kaldi_plp13", **options)(np.zeros(4000, np.float32))
        assert x.isfinite().all() and torch.allclose(x, x[0].expand_as(x), atol=1e-6)


def test_more_poles_than_the_kernel_takes(signals, near):
    o = {"num_mel_bins": 40, "num_ceps": 20}
    assert fast._plan(presets.options("kaldi_plp13", **o, lpc_order=32)) is not None
    assert fast._plan(presets.options("kaldi_plp13", **o, lpc_order=33)) is None
    for order in (32, 33):
        near(features.get("kaldi_plp13", **o, lpc_order=order), signals["speechlike"], unit=10)
