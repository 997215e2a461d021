"""Extractors as modules that torch.export takes; batches of waves; pitch."""

import numpy as np
import pytest
import torch

import features


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kaldi_fbank80", {"deltas": 2}),
        ("kaldi_mfcc13", {"snip_edges": False}),
        ("kaldi_plp13", {"cmvn": "mean"}),
        ("whisper80", {"pad_to_s": 1.5}),
        ("nemo80", {}),
        ("sensevoice", {}),
        ("psf_mfcc", {}),
        ("wave16k", {"normalize": True}),
    ],
)
def test_exported_it_gives_what_the_extractor_gives(name, options):
    waves = np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)
    fe = features.get(name, **options)
    program = torch.export.export(fe.module(), (torch.zeros(2, 16000),))
    x, _ = fe(waves, [16000, 16000])
    y = program.module()(torch.from_numpy(waves))
    assert x.shape == y.shape and (x - y).abs().mean() < 1e-5 * max(1.0, float(x.abs().max()) / 20)
    spectral = name != "wave16k"
    assert ("window" in dict(fe.module().named_buffers())) is spectral


def test_module_refuses_what_depends_on_the_length():
    with pytest.raises(ValueError, match="pad_longer='keep' depends"):
        features.get("whisper80", pad_longer="keep", pad_to_s=1.0).module()


def test_batch_is_a_collate_function():
    fe = features.get("kaldi_fbank80")
    waves = [np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32)
             for i, n in enumerate((16000, 300, 9000))]  # fmt: skip
    loader = torch.utils.data.DataLoader(waves, batch_size=3, collate_fn=features.batch)
    padded, lengths = next(iter(loader))
    assert padded.shape == (3, 16000) and lengths.tolist() == [16000, 300, 9000]
    x, n = fe.batch(waves)
    assert torch.equal(x, fe(padded, lengths)[0]) and n.tolist() == [98, 0, 54]
    for i, wave in enumerate(waves):
        assert torch.equal(x[i, : n[i]], fe(wave)[0]) and not x[i, n[i] :].any()
    for bad, said in (([], "got none"), ([np.zeros((2, 9), np.float32)], "one wave")):
        with pytest.raises(ValueError, match=said):
            features.batch(bad)


def test_pitch_is_kaldis(monkeypatch):
    """A buzz of 150 Hz at two rates, by kaldi-native-fbank; said where that is not installed."""
    for rate in (8000, 16000):
        wave = np.sign(np.sin(2 * np.pi * 150 * np.arange(rate) / rate)).astype(np.float32) * 0.5
        x = features.pitch(wave, rate)
        assert x.dtype == np.float32 and x.shape[1] == 3 and len(x) >= 95
        hz = np.exp(features.pitch(wave, rate, add_raw_log_pitch=True)[:, -1])
        assert abs(np.median(hz) - 150) < 2
        hz = np.exp(features.pitch(wave, rate, add_raw_log_pitch=True, min_f0=200.0)[:, -1])
        assert hz.min() > 190
    with pytest.raises(ValueError, match="no option 'minf0'"):
        features.pitch(wave, rate, minf0=1.0)
    monkeypatch.setitem(__import__("sys").modules, "kaldi_native_fbank", None)
    with pytest.raises(ValueError, match="pip install kaldi-native-fbank"):
        features.pitch(wave, rate)
