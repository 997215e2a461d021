"""Deltas against Kaldi's, inside also against three others'; as an option of a front end."""

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import python_speech_features
import torch

import features
from features import deltas

X = np.random.default_rng(0).standard_normal((40, 5))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("n", [40, 9, 2, 1])
def test_kaldis(order, window, n):
    theirs = knf.compute_deltas(knf.DeltaOptions(order, window), X[:n].astype(np.float32))
    ours = deltas.kaldi(torch.from_numpy(X[:n]), order, window)
    assert np.abs(ours.numpy() - theirs).max() < 1e-6


def test_inside_they_are_what_others_have():
    """torchaudio, librosa and python_speech_features, which have other edges or other orders."""
    from torchaudio.functional import compute_deltas

    ours = deltas.kaldi(torch.from_numpy(X), 1)[:, 5:].numpy()
    others = (
        compute_deltas(torch.from_numpy(X.T)).T.numpy(),
        python_speech_features.delta(X, 2),
        librosa.feature.delta(X.T, width=5).T,
    )
    for theirs in others:
        assert np.abs(ours - theirs)[2:-2].max() < 1e-10
    assert np.abs(ours - others[2])[:2].max() > 1e-2


def test_as_an_option():
    """Beside the features, after cmvn, in a batch each item by its own end; it cannot stream."""
    wave = np.random.default_rng(1).normal(0, 0.1, (2, 16000)).astype(np.float32)
    for more in ({}, {"cmvn": "mean"}, {"num_mel_bins": 23, "num_ceps": 13}):
        fe = features.get("kaldi_fbank80", deltas=2, **more)
        x, n = fe(wave[0])
        base = features.get("kaldi_fbank80", **more)(wave[0])[0]
        theirs = knf.compute_deltas(knf.DeltaOptions(2, 2), base.numpy())
        assert x.shape == (n, fe.dim) == theirs.shape and np.abs(x.numpy() - theirs).max() < 1e-4
        both, lengths = fe(wave, [16000, 9000])
        assert torch.equal(both[0], x) and torch.equal(both[1, : lengths[1]], fe(wave[1, :9000])[0])
        plain, _ = fe(torch.from_numpy(wave).requires_grad_(), [16000, 9000])
        assert (plain - both).abs().max() < 1e-2 and (plain - both).abs().mean() < 1e-4
    with pytest.raises(ValueError, match="cannot stream: deltas"):
        fe.stream()
    assert features.get("kaldi_fbank80", deltas=1, stack=2).dim == 320


def test_nothing_and_what_is_refused():
    assert deltas.kaldi(torch.zeros(0, 5)).shape == (0, 15)
    for options in ({"deltas": -1}, {"deltas": 4}, {"deltas": 1, "deltas_window": 0}):
        with pytest.raises(ValueError, match="it must be"):
            features.get("kaldi_fbank80", **options)


def test_gradients():
    x = torch.from_numpy(X[:12]).requires_grad_()
    assert torch.autograd.gradcheck(deltas.kaldi, x)
