"""Waves of any length in windows: lengths, the plain path, batches, transformers, refusals."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

import features

KINDS = [
    {"pad_to_s": 0.5, "pad_longer": longer, "pad_counts": counts}
    for longer in ("refuse", "keep", "multiple", "windows")
    for counts in ("none", "begun", "all")
]


def noise(n, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.mark.parametrize("options", KINDS)
def test_lengths_batch_and_plain_path(options):
    """Valid frames as they are defined, rows for them, batch = single, fast = plain."""
    fe = features.get("whisper80", **options)
    lengths = [8000, 1, 0, 4001, 161, 7999]
    if options["pad_longer"] != "refuse":
        lengths += [8001, 16000, 17203]
    waves = torch.stack([torch.from_numpy(noise(17203, i)) for i in range(len(lengths))])
    x, n = fe(waves, lengths)
    y, _ = fe(waves.clone().requires_grad_(), lengths)
    assert torch.allclose(x, y, atol=1e-4) and x.shape == y.shape
    for row, length in enumerate(lengths):
        begun = {"none": length // 160, "begun": -(-length // 160)}
        padded = -(-length // 8000) * 8000
        padded = padded if options["pad_longer"] in ("multiple", "windows") else max(length, 8000)
        wanted = begun.get(options["pad_counts"], padded // 160 if length else 0)
        alone, frames = fe(waves[row, :length])
        assert frames == n[row] == fe.count(length) == min(wanted, padded // 160)
        assert len(alone) >= frames and torch.equal(x[row, : len(alone)], alone)


def test_windows_are_as_alone_and_a_multiple_is_not():
    wave = np.concatenate([noise(8000), 1e-3 * noise(5000, 1)])  # top_db sees the loud window
    options = {"pad_to_s": 0.5, "pad_counts": "begun"}
    cut, n = features.get("whisper80", pad_longer="windows", **options)(wave)
    each = features.get("whisper80", **options)
    assert n == 82 and torch.equal(cut, torch.cat([each(wave[:8000])[0], each(wave[8000:])[0]]))
    whole, _ = features.get("whisper80", pad_longer="multiple", **options)(wave)
    assert (whole - cut).abs().max() > 0.1
    filled = np.pad(wave, (0, 3000))
    assert torch.equal(whole, features.get("whisper80")(filled)[0])


def test_whole_multiple_is_transformers(close):
    wave = noise(31 * 16000)
    theirs = WhisperFeatureExtractor(feature_size=128)(
        wave, sampling_rate=16000, padding=True, truncation=False, pad_to_multiple_of=480000,
        return_tensors="np",
    )  # fmt: skip
    fe = features.get("whisper128", pad_to_s=30.0, pad_longer="multiple", pad_counts="all")
    x, n = fe(wave)
    assert n == 6000
    close(x, theirs.input_features[0].T, most=2e-3, mean=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("whisper80", {"pad_longer": "cut", "pad_to_s": 1.0}, "one of 'refuse'"),
        ("whisper80", {"pad_counts": "some", "pad_to_s": 1.0}, "one of 'none'"),
        ("whisper80", {"pad_longer": "windows"}, "above 0 with pad_longer"),
        ("whisper80", {"pad_counts": "all"}, "above 0 with pad_longer"),
        ("whisper80", {"pad_longer": "windows", "pad_to_s": 0.505}, "whole rows"),
        ("kaldi_fbank80", {"pad_longer": "windows", "pad_to_s": 1.0}, "whole rows"),
        ("ast", {"pad_longer": "keep", "pad_to_s": 1.0, "pad_to_frames": 200}, "0 with pad_longer"),
    ],
)
def test_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        features.get(name, **options)
