"""Normalisation against Kaldi's, torchaudio's, and a loop over frames."""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

from features import normalise

X = torch.from_numpy(np.random.default_rng(0).standard_normal((700, 4)) * [1, 5, 0.1, 2] + 30)


def slowly(x, window, min_window, center, variance):
    """apply-cmvn-sliding, a frame at a time."""
    out = np.zeros_like(x)
    for t in range(len(x)):
        start, end = (t - window // 2, t - window // 2 + window) if center else (t - window, t + 1)
        if start < 0:
            start, end = 0, end - start
        if not center and end > t:
            end = max(t + 1, min_window)
        if end > len(x):
            start, end = max(0, start - (end - len(x))), len(x)
        part = x[start:end]
        out[t] = x[t] - part.mean(0)
        if variance:
            out[t] = out[t] / part.std(0) if len(part) > 1 else 0.0
    return out


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize(("window", "least"), [(600, 100), (50, 50), (51, 7), (3, 1)])
@pytest.mark.parametrize("n", [700, 120, 60, 2, 1])
def test_sliding(window, least, center, variance, n):
    from torchaudio.functional import sliding_window_cmn

    ours = normalise.sliding(X[:n], window, least, center, variance)
    assert (
        np.abs(ours.numpy() - slowly(X[:n].numpy(), window, least, center, variance)).max() < 1e-7
    )
    theirs = sliding_window_cmn(X[:n], window, least, center, variance)
    if n > 1 and not (variance and window == 3):  # its variance of two frames loses all digits
        assert (ours - theirs).abs().max() < 1e-6


def test_sliding_of_nothing_and_of_nonsense():
    assert normalise.sliding(torch.zeros(0, 3)).shape == (0, 3)
    for window, least in ((600, 601), (10, 0)):
        with pytest.raises(ValueError, match="min_window <= window"):
            normalise.sliding(X, window, least)


@pytest.mark.parametrize("norm_vars", [False, True])
def test_utterance_and_corpus_are_kaldis(norm_vars):
    x = X.float()
    stats = knf.compute_cmvn_stats(x.numpy())
    theirs = knf.apply_cmvn(stats, knf.CmvnOptions(norm_vars=norm_vars), x.numpy())
    ours = normalise.utterance(x, variance=norm_vars)
    assert np.abs(ours.numpy() - theirs).max() < 1e-4
    assert abs(float(ours.mean())) < 1e-6
    two = normalise.Statistics(4).add(x[:300]).merge(normalise.Statistics(4).add(x[300:]))
    assert two.count == 700
    assert np.abs(two.apply(x, norm_vars).numpy() - theirs).max() < 1e-4
    assert torch.allclose(two.mean, X.mean(0), atol=1e-5)
    assert torch.allclose(two.deviation, X.std(0, correction=0), atol=1e-5)


def test_statistics_refuse():
    with pytest.raises(ValueError, match="no frame was counted"):
        _ = normalise.Statistics(4).mean
    with pytest.raises(ValueError, match="wanted features of 4 columns, got 5"):
        normalise.Statistics(4).add(torch.zeros(3, 5))


def test_padding_does_not_count():
    batch = torch.full((3, 700, 4), torch.nan, dtype=torch.float64)
    lengths = torch.tensor([700, 33, 0])
    for row, n in zip(batch, lengths, strict=True):
        row[:n] = X[:n]
    for variance, ddof in ((True, 0), (True, 1), (False, 0)):
        ours = normalise.utterance(batch, lengths, variance, ddof)
        for row, n in zip(ours, lengths, strict=True):
            assert torch.allclose(row[:n], normalise.utterance(X[:n], None, variance, ddof))
            assert not row[n:].any()
    single = normalise.utterance(X[:1], ddof=1)
    assert not single.any()  # no deviation of one frame, and no division by zero


def test_gradients():
    x = X[None, :6].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalise.utterance(x, torch.tensor([5])), x)
    assert torch.autograd.gradcheck(lambda x: normalise.sliding(x[0], 4, 2, variance=True), x)
