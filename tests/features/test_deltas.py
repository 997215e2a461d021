"""Deltas against the three programs that define them."""

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import python_speech_features
import torch

from features import deltas

X = np.random.default_rng(0).standard_normal((40, 5))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("n", [40, 9, 2, 1])
def test_kaldis(order, window, n):
    theirs = knf.compute_deltas(knf.DeltaOptions(order, window), X[:n].astype(np.float32))
    ours = deltas.kaldi(torch.from_numpy(X[:n]), order, window)
    assert np.abs(ours.numpy() - theirs).max() < 1e-6


@pytest.mark.parametrize("win_length", [3, 5, 9])
@pytest.mark.parametrize("mode", ["replicate", "constant"])
def test_torchaudios(win_length, mode):
    from torchaudio.functional import compute_deltas

    theirs = compute_deltas(torch.from_numpy(X.T), win_length, mode).T
    ours = deltas.torchaudio(torch.from_numpy(X), win_length, mode)
    assert (ours - theirs).abs().max() < 1e-12
    if mode == "replicate":
        psf = python_speech_features.delta(X, win_length // 2)
        assert np.abs(ours.numpy() - psf).max() < 1e-12


@pytest.mark.parametrize("width", [3, 5, 9, 39])
@pytest.mark.parametrize("order", [1, 2])
def test_librosas(width, order):
    theirs = librosa.feature.delta(X.T, width=width, order=order).T
    ours = deltas.librosa(torch.from_numpy(X), width, order)
    assert np.abs(ours.numpy() - theirs).max() < 1e-10


def test_they_agree_inside_and_differ_at_the_edges():
    x = torch.from_numpy(X)
    kaldi, torchaudio, librosas = (
        deltas.kaldi(x, 1)[:, 5:],
        deltas.torchaudio(x),
        deltas.librosa(x, 5),
    )
    assert torch.allclose(kaldi, torchaudio) and torch.allclose(kaldi[2:-2], librosas[2:-2])
    assert not torch.allclose(kaldi[:2], librosas[:2])
    twice = deltas.torchaudio(torchaudio)
    second = deltas.kaldi(x, 2)[:, 10:]
    assert torch.allclose(second[4:-4], twice[4:-4]) and not torch.allclose(second[:2], twice[:2])


def test_nothing_and_what_is_refused():
    empty = torch.zeros(0, 5)
    assert deltas.kaldi(empty).shape == (0, 15) and deltas.torchaudio(empty).shape == (0, 5)
    for call, said in (
        (lambda: deltas.librosa(torch.zeros(8, 5)), "at most the 8 frames"),
        (lambda: deltas.librosa(torch.zeros(20, 5), 4), "width=4: it must be odd"),
        (lambda: deltas.librosa(torch.zeros(20, 5), 5, 5), "order=5: it must be in 1..4"),
        (lambda: deltas.torchaudio(torch.zeros(20, 5), 2), "win_length=2"),
        (lambda: deltas.kaldi(torch.zeros(20, 5), -1), "order=-1"),
        (lambda: deltas.kaldi(torch.zeros(20, 5), 1, 0), "window=0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_gradients():
    x = torch.from_numpy(X[:12]).requires_grad_()
    for function in (deltas.kaldi, deltas.torchaudio, deltas.librosa):
        assert torch.autograd.gradcheck(function, x)
