"""Normalisation against Kaldi's; a corpus's statistics as an option of a front end."""

import json

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch

import features
from features import normalise, statistics

X = torch.from_numpy(np.random.default_rng(0).standard_normal((700, 4)) * [1, 5, 0.1, 2] + 30)


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


def test_global_statistics_are_an_option(tmp_path):
    """From a file or as numbers; offline = in a stream = in a batch; back by options()."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 0.1, (2, 16000)).astype(np.float32)
    bare = features.get("kaldi_fbank80")
    seen = normalise.Statistics(80).add(bare(waves[0])[0]).add(bare(waves[1])[0])
    statistics.write(tmp_path / "stats.json", seen, preset="kaldi_fbank80")
    fe = features.get("kaldi_fbank80", cmvn="global", stats=str(tmp_path / "stats.json"))
    x, n = fe(waves[0])
    assert torch.allclose(x, seen.apply(bare(waves[0])[0]), atol=1e-5)
    again = features.get(fe.name, **json.loads(json.dumps(fe.options())))
    assert torch.equal(again(waves[0])[0], x) and again._options == fe._options
    stream = fe.stream()
    parts = [stream(waves[0][:7000]), stream(waves[0][7000:]), stream.flush()]
    assert torch.equal(torch.cat(parts), x)
    plain, _ = fe(torch.from_numpy(waves).requires_grad_(), [16000, 9000])
    assert (plain[0] - x).abs().mean() < 1e-5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no statistics can be read"),
        ("{", "no statistics can be read"),
        ("[]", "no statistics can be read"),
        ('{"mean": [0.0], "deviation": [1.0]}', "stats of 1 and 1 columns: wanted"),
        ('{"mean": [0.0], "deviation": [0.0]}', "above 0"),
        ('{"mean": 1, "deviation": "x"}', "wanted two rows"),
    ],
)
def test_statistics_that_are_none(text, said, tmp_path):
    path = tmp_path / "stats.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        features.get("kaldi_fbank80", cmvn="global", stats=str(path))
    assert "features stats" in str(caught.value) or "options" in str(caught.value)


def test_global_and_stats_go_together():
    for options in ({"cmvn": "global"}, {"stats": [[0.0] * 80, [1.0] * 80]}):
        with pytest.raises(ValueError, match="go together"):
            features.get("kaldi_fbank80", **options)
