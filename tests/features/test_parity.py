"""Presets against the programs they follow, and against the float64 specification.

Tolerances: in log-mel a mean of 1e-5, a 99.9th percentile of 5e-4, a maximum of 2e-2 (it lies in
near-silent bins), ten times that for cepstra. Kaldi's own fp32 programs are as far apart.
"""

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

import features

RATES = (8000, 16000)
WHISPER = {"mean": 1e-6, "p999": 5e-5, "most": 2e-3}
CEPSTRA = {"mean": 1e-4, "p999": 5e-3, "most": 2e-1}


def native(options, online, wave, rate, snip_edges=True, **mel):
    """Features of kaldi-native-fbank."""
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = rate
    options.frame_opts.snip_edges = snip_edges
    for name, value in mel.items():
        setattr(options.mel_opts if name == "num_bins" else options, name, value)
    computer = online(options)
    computer.accept_waveform(rate, (wave * 32768).tolist())
    computer.input_finished()
    rows = [computer.get_frame(i) for i in range(computer.num_frames_ready)]
    return np.array(rows)


def kaldi(function, wave, rate, **options):
    """Features of torchaudio.compliance.kaldi."""
    from torchaudio.compliance import kaldi as compliance

    scaled = torch.from_numpy(wave)[None] * 32768
    return getattr(compliance, function)(scaled, sample_frequency=float(rate), **options)


@pytest.mark.parametrize("name", [n for n in features.names() if n != "wave16k"])
def test_specification(name, signal, reference, close):
    fe = features.get(name)
    x, n = fe(signal)
    assert n == len(x)
    wide = CEPSTRA if "mfcc" in name else {}
    close(x, reference.features(signal, **fe.options()), **wide)


@pytest.mark.parametrize(
    "options",
    [
        {"snip_edges": False},
        {"window": "hamming"},
        {"window": "rectangular", "preemphasis": 0.5, "remove_dc_offset": False},
        {"window": "blackman", "preemphasis": 0.0, "power": 1.0},
        {"use_energy": True},
        {"use_energy": True, "raw_energy": False},
        {"sampling_rate": 8000, "num_mel_bins": 40, "high_freq": -200.0},
        {"sampling_rate": 11025, "frame_shift_ms": 12.5, "num_mel_bins": 30},
        {"num_mel_bins": 0},
        {"center": True, "n_fft": 1024, "log": "log10", "mel_scale": "slaney"},
        {"pad_to_s": 0.75, "snip_edges": False},
        {"pad_to_s": 1.0, "center": True, "use_energy": True},
    ],
    ids=str,
)
def test_options_keep_to_the_specification(options, signals, reference, close):
    fe = features.get("kaldi_fbank80", **options)
    for name in ("noise", "speechlike"):
        wave = signals[name][:9000]
        close(fe(wave)[0], reference.features(wave, **fe.options()))


@pytest.mark.parametrize("num_bins", [40, 80])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_fbank_is_kaldis(num_bins, snip_edges, signal, close):
    for rate in RATES:
        fe = features.get(f"kaldi_fbank{num_bins}", snip_edges=snip_edges, sampling_rate=rate)
        x, _ = fe(signal)
        theirs = native(
            knf.FbankOptions(), knf.OnlineFbank, signal, rate, snip_edges, num_bins=num_bins
        )
        close(x, theirs)
        close(x, kaldi("fbank", signal, rate, num_mel_bins=num_bins, snip_edges=snip_edges))


def test_pure_tone_is_as_close_to_float64_as_torchaudio(reference):
    """Its leakage lies under the rounding of fp32: no two fp32 programs agree there to 1e-5."""
    wave = (0.9 * np.sin(2 * np.pi * 1000 * np.arange(4000) / 16000)).astype(np.float32)
    fe = features.get("kaldi_fbank80")
    truth = reference.features(wave, **fe.options())
    ours = np.abs(fe(wave)[0].numpy() - truth)
    theirs = np.abs(kaldi("fbank", wave, 16000, num_mel_bins=80).numpy() - truth)
    assert ours.mean() < 3 * theirs.mean() and ours.max() < 3 * theirs.max()


@pytest.mark.parametrize("use_energy", [False, True])
def test_mfcc_is_kaldis(use_energy, signal, close):
    fe = features.get("kaldi_mfcc13", use_energy=use_energy)
    x, _ = fe(signal)
    theirs = native(knf.MfccOptions(), knf.OnlineMfcc, signal, 16000, use_energy=use_energy)
    close(x, theirs, **CEPSTRA)
    close(x, kaldi("mfcc", signal, 16000, use_energy=use_energy, energy_floor=0.0), **CEPSTRA)


@pytest.mark.parametrize("num_bins", [80, 128])
def test_whisper_is_transformers(num_bins, signal, close):
    theirs = WhisperFeatureExtractor(feature_size=num_bins)
    x, n = features.get(f"whisper{num_bins}", pad_to_s=30.0)(signal)
    padded = theirs(signal, sampling_rate=16000, return_tensors="np").input_features[0].T
    assert x.shape == (3000, num_bins) and n == len(signal) // 160
    close(x, padded, **WHISPER)
    x, n = features.get(f"whisper{num_bins}")(signal)
    bare = theirs(signal, sampling_rate=16000, padding="do_not_pad", return_tensors="np")
    assert n == len(x)
    close(x, bare.input_features[0].T, **WHISPER)


def test_whisper_window_filled_to_the_brim(close):
    theirs = WhisperFeatureExtractor(feature_size=80)
    fe = features.get("whisper80", pad_to_s=30.0)
    noise = np.random.default_rng(1).standard_normal(480000).astype(np.float32) * 0.1
    for n in (480000, 479999, 479801, 479800, 479500, 1, 0):
        if n:  # transformers cannot pad nothing
            full = theirs(noise[:n], sampling_rate=16000, return_tensors="np").input_features[0].T
            close(fe(noise[:n])[0], full, **WHISPER)
        assert fe(noise[:n])[0].shape == (3000, 80)


def test_wave_is_wav2vec2s(signal):
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(signal, sampling_rate=16000)
    x, n = features.get("wave16k", normalize=True)(signal)
    assert n == len(signal)
    assert np.abs(x.numpy() - theirs.input_values[0]).max() < 1e-4
    assert (features.get("wave16k")(signal)[0].numpy() == signal).all()


def test_real_speech(real_data, close):
    """One utterance of each of some speakers, against all references at once."""
    files = sorted(real_data.glob("librispeech_flac/dev-clean/*/*/*.flac"))[:4]
    if not files:
        pytest.skip("needs librispeech_flac in the data folder")
    whisper = WhisperFeatureExtractor(feature_size=80)
    for path in files:
        wave, rate = features.load(path)
        wave = wave[: 8 * rate]
        x, _ = features.get("kaldi_fbank80")(wave)
        close(x, native(knf.FbankOptions(), knf.OnlineFbank, wave, rate, num_bins=80))
        close(x, kaldi("fbank", wave, rate, num_mel_bins=80))
        x, _ = features.get("kaldi_mfcc13")(wave)
        close(x, kaldi("mfcc", wave, rate), **CEPSTRA)
        theirs = whisper(wave, sampling_rate=rate, return_tensors="np").input_features[0].T
        close(features.get("whisper80", pad_to_s=30.0)(wave)[0], theirs, **WHISPER)
