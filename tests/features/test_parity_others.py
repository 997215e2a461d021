"""Presets against transformers, torchaudio's transforms, librosa and python_speech_features.

Float32 is judged as in test_parity, in dB where the features are (1 in ln is 4.34 dB); in float64 a
mean of 1e-6 where the reference has float64.
"""

import functools
import warnings

import librosa
import numpy as np
import pytest
import python_speech_features
import torch
from transformers import (
    ASTFeatureExtractor,
    ParakeetFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

import features

RATES = (8000, 16000)
CEPSTRA = {"mean": 1e-4, "p999": 5e-3, "most": 2e-1}
EXACT = {"mean": 1e-6, "p999": 1e-5, "most": 1e-4}
LOG_MEL = {"mean": 1e-5, "p999": 5e-4, "most": 2e-2}
LABELS = ("noise", "silence", "dc", "noise_on_dc", "square", "slow_square", "tone", "impulses",
          "speechlike")  # fmt: skip


def stft(rate, n_fft):
    """Arguments of a transform with frames of 25 ms (librosa: 128 ms) every 10 ms (32 ms)."""
    milli = rate // 1000
    window, hop = (25 * milli, 10 * milli) if n_fft == 400 else (128 * milli, 32 * milli)
    return {"n_fft": n_fft, "win_length": window, "hop_length": hop}


def torchaudio_mel(wave, rate):
    tensor = torch.from_numpy(wave)
    return _transforms(rate, tensor.dtype)[0](tensor).T.numpy()


def torchaudio_mfcc(wave, rate):
    tensor = torch.from_numpy(wave)
    return _transforms(rate, tensor.dtype)[1](tensor).T.numpy()


@functools.cache
def _transforms(rate, dtype):
    """MelSpectrogram and MFCC, their tables made in this dtype, the default one of the moment."""
    from torchaudio.transforms import MFCC, MelSpectrogram

    mel = {"n_mels": 80, **stft(rate, 400)}
    made = MelSpectrogram(rate, **mel), MFCC(rate, n_mfcc=40, melkwargs=mel)
    return [transform.to(dtype) for transform in made]


def librosa_mel(wave, rate):
    power = librosa.feature.melspectrogram(y=wave, sr=rate, **stft(rate, 2048))
    return librosa.power_to_db(power).T


def librosa_mfcc(wave, rate):
    return librosa.feature.mfcc(y=wave, sr=rate, **stft(rate, 2048)).T


_ast = functools.cache(ASTFeatureExtractor)


def ast(wave, rate):
    return _ast(sampling_rate=rate, max_length=40)(
        wave, sampling_rate=rate, return_tensors="np"
    ).input_values[0]


def psf_mfcc(wave, rate):
    return python_speech_features.mfcc(wave.astype(np.float64) * 32768, rate)


def _log(x):
    return np.log(np.maximum(x, 1e-10))


REFERENCES = {f.__name__: f for f in (
    torchaudio_mel, torchaudio_mfcc, librosa_mel, librosa_mfcc, ast, psf_mfcc
)}  # fmt: skip
FLOAT64 = ("torchaudio_mel", "torchaudio_mfcc", "librosa_mel", "librosa_mfcc", "psf_mfcc")


def ours(name, wave, rate, dtype="float32"):
    """The preset; torchaudio_mel as its logarithm, AST in a window that all signals here fit."""
    changes = {"pad_to_frames": 40} if name == "ast" else {}
    wave = wave[: 40 * rate // 100] if name == "ast" else wave
    x, _ = features.get(name, sampling_rate=rate, dtype=dtype, **changes)(wave)
    return _log(x.numpy()) if name == "torchaudio_mel" else x.numpy()


def extractor(name, rate):
    """The preset; AST in a window that all signals here fit."""
    return features.get(name, sampling_rate=rate, **{"pad_to_frames": 40} if name == "ast" else {})


def shown(name, x):
    """torchaudio_mel as its logarithm."""
    return _log(np.asarray(x)) if name == "torchaudio_mel" else np.asarray(x)


def unit(name):
    """What 1 in ln is: cepstra add some ten bins, dB have another size."""
    return (10 if "mfcc" in name else 1) * (
        4.34 if name.startswith(("librosa", "torchaudio")) else 1
    )


def within(name):
    """Tolerances for a preset."""
    wide = CEPSTRA if "mfcc" in name else LOG_MEL
    unit = 10 / np.log(10) if name.startswith("librosa") or name == "torchaudio_mfcc" else 1.0
    return {key: value * unit for key, value in wide.items()}


@pytest.fixture
def double():
    """Everything that torchaudio makes is float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def quiet():
    """librosa warns of short signals, torchaudio and transformers of empty filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", REFERENCES)
def test_preset_is_its_reference(name, label, rate, signals, near):
    signal = signals[label]
    assert set(LABELS) == set(signals)
    signal = signal[: 40 * rate // 100] if name == "ast" else signal
    theirs = REFERENCES[name](signal, rate)
    show = functools.partial(shown, name)
    near(extractor(name, rate), signal, theirs, show=show, unit=unit(name))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", FLOAT64)
def test_preset_is_its_reference_in_float64(name, rate, signal, close, double):
    theirs = shown(name, REFERENCES[name](signal.astype(np.float64), rate))
    close(ours(name, signal, rate, "float64"), theirs, **EXACT)


@pytest.mark.parametrize("name", REFERENCES)
def test_every_length_up_to_three_frames(name, signals, near, monkeypatch):
    """Their constants are made once: only the wave changes."""
    banks = functools.cache(python_speech_features.base.get_filterbanks)
    monkeypatch.setattr(python_speech_features.base, "get_filterbanks", banks)
    step = 7 if name.startswith("librosa") or name.endswith("audio_mfcc") else 1  # slow ones
    least = 201 if "torchaudio" in name else 400 if name == "ast" else 1  # they refuse less
    lengths = range(least, 2 * 512 + 2 if "librosa" in name else 721, step)
    waves = [signals["speechlike"][5000 : 5000 + n] for n in lengths]
    theirs = [REFERENCES[name](wave, 16000) for wave in waves]
    near(
        extractor(name, 16000), waves, theirs, show=functools.partial(shown, name), unit=unit(name)
    )


def test_lifter_is_librosas(signals, close):
    fe = features.get("librosa_mfcc", cepstral_lifter=22.0, lifter_start=1, dtype="float64")
    for name in ("noise", "speechlike"):
        theirs = librosa.feature.mfcc(y=signals[name].astype(np.float64), sr=16000, lifter=22)
        close(fe(signals[name])[0], theirs.T, **EXACT)


def test_ast_without_its_window(signals, near):
    """The real frames are the same with and without the padding to 1024."""
    wave = signals["speechlike"]
    bare, n = features.get("ast")(wave)
    padded, real = features.get("ast", pad_to_frames=1024)(wave)
    theirs = ASTFeatureExtractor()(wave, sampling_rate=16000, return_tensors="np").input_values[0]
    assert n == real == len(bare) and torch.equal(padded[:n], bare)
    near(features.get("ast", pad_to_frames=1024), wave, theirs)


def seamless(wave, rate):
    """Rows of SeamlessM4TFeatureExtractor that its mask keeps."""
    theirs = SeamlessM4TFeatureExtractor(sampling_rate=rate)
    found = theirs(wave, sampling_rate=rate, return_tensors="np")
    return found.input_features[0][: int(found.attention_mask[0].sum())]


@pytest.mark.parametrize("name", ["noise", "noise_on_dc", "slow_square", "impulses", "speechlike"])
@pytest.mark.parametrize("rate", RATES)
def test_seamless_is_transformers(name, rate, signals, near):
    lengths = {"frame_length_ms": 400e3 / rate, "frame_shift_ms": 160e3 / rate}
    fe = features.get("seamless", sampling_rate=rate, **lengths)
    theirs = seamless(signals[name], rate)
    assert fe.count(len(signals[name])) == len(theirs)
    near(fe, signals[name], theirs)


def test_seamless_where_nothing_changes(signal, close):
    """Columns that hardly vary are divided by little: what fp32 does to mean and variance shows.

    It is 3e-3 for silence, so theirs are normalised in float64 here.
    """
    theirs = SeamlessM4TFeatureExtractor()._extract_fbank_features(signal).astype(np.float64)
    theirs = (theirs - theirs.mean(0)) / np.sqrt(theirs.var(0, ddof=1) + 1e-7)
    theirs = theirs[: len(theirs) // 2 * 2].reshape(-1, 160)
    fe = features.get("seamless", dtype="float64")
    # their log-mel is rounded to fp32, which 1 / deviation magnifies
    close(fe(signal)[0], theirs, mean=1e-4, p999=5e-3, most=2e-2)


def test_seamless_in_every_length(signals, near):
    waves = [signals["noise"][:n] for n in range(720, 1040, 3)]
    near(features.get("seamless"), waves, [seamless(wave, 16000) for wave in waves])
    assert features.get("seamless")(signals["noise"][:559])[0].shape == (0, 160)


@pytest.mark.parametrize("num_bins", [80, 128])
def test_whisper_is_transformers(num_bins, signal, near):
    theirs = WhisperFeatureExtractor(feature_size=num_bins)
    fe = features.get(f"whisper{num_bins}", pad_to_s=30.0)
    x, n = fe(signal)
    padded = theirs(signal, sampling_rate=16000, return_tensors="np").input_features[0].T
    assert x.shape == (3000, num_bins) and n == len(signal) // 160
    near(fe, signal, padded)
    bare = theirs(signal, sampling_rate=16000, padding="do_not_pad", return_tensors="np")
    near(features.get(f"whisper{num_bins}"), signal, bare.input_features[0].T)


def test_whisper_window_filled_to_the_brim(near):
    theirs = WhisperFeatureExtractor(feature_size=80)
    fe = features.get("whisper80", pad_to_s=30.0)
    noise = np.random.default_rng(1).standard_normal(480000).astype(np.float32) * 0.1
    for n in (480000, 479999, 479801, 479800, 479500, 1, 0):
        if n:  # transformers cannot pad nothing
            full = theirs(noise[:n], sampling_rate=16000, return_tensors="np").input_features[0].T
            near(fe, noise[:n], full)
        assert fe(noise[:n])[0].shape == (3000, 80)


@pytest.mark.parametrize("bins", [80, 128])
def test_nemo_is_parakeets(bins, signals, near):
    """Rows that its mask keeps; in a batch, too."""
    theirs = ParakeetFeatureExtractor(feature_size=bins)
    fe = features.get(f"nemo{bins}")
    for name in ("noise", "noise_on_dc", "tone", "slow_square", "speechlike"):
        for n in (len(signals[name]), 2000, 1999, 1760, 640):
            wave = signals[name][:n]
            found = theirs(wave, sampling_rate=16000, return_tensors="pt")
            rows = found.input_features[0][found.attention_mask[0].bool()]
            assert fe.count(n) == len(rows) == fe(wave)[1]
            near(fe, wave, rows.numpy())
    waves = np.stack([signals["speechlike"], signals["speechlike"][::-1]])
    found = theirs(list(waves), sampling_rate=16000, return_tensors="pt")
    x, n = fe(waves, [16000, 16000])
    assert (x - found.input_features[:, : x.shape[1]]).abs().mean() < 1e-4


def test_gemma4_is_transformers(signal, near):
    theirs = Gemma4AudioFeatureExtractor()
    fe = features.get("gemma4")
    for n in (len(signal), 1921, 1920, 1919, 1761, 1760, 321, 320, 162):
        found = theirs([signal[:n]], return_tensors="np")
        rows = found["input_features"][0][found["input_features_mask"][0].astype(bool)]
        x, count = fe(signal[:n])
        assert count == len(rows)
        if rows.size and (np.diff(signal) != 0).mean() > 0.1:  # a constant leaves rounding alone
            assert np.abs(x.numpy() - rows).max() < 1e-4
        near(fe, signal[:n], rows)


def test_sensevoice_is_funasrs(signals, near):
    """Kaldi's fbank, then rows of seven frames every six, the first and last frames repeated."""
    sensevoice = pytest.importorskip("asrfront.sensevoice")
    fe = features.get("sensevoice")
    for n in (16000, 15000, 7000, 1360, 1359, 560, 400):
        wave = signals["speechlike"][:n]
        near(fe, wave, sensevoice.fbank(wave))
        assert fe.count(n) == len(sensevoice.fbank(wave))


def test_wave_is_wav2vec2s(signal):
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(signal, sampling_rate=16000)
    x, n = features.get("wave16k", normalize=True)(signal)
    assert n == len(signal)
    assert np.abs(x.numpy() - theirs.input_values[0]).max() < 1e-4
    assert (features.get("wave16k")(signal)[0].numpy() == signal).all()


def test_real_speech(real_data, near):
    """Some utterances of some speakers, against all of them."""
    files = sorted(real_data.glob("librispeech_flac/dev-clean/*/*/*.flac"))[::200][:3]
    if not files:
        pytest.skip("needs librispeech_flac in the data folder")
    for path in files:
        wave, rate = features.load(path)
        wave = wave[: 8 * rate]
        for name, reference in REFERENCES.items():
            cut = wave[: 40 * rate // 100] if name == "ast" else wave
            show = functools.partial(shown, name)
            near(extractor(name, rate), cut, reference(cut, rate), show=show, unit=unit(name))
        near(features.get("seamless"), wave, seamless(wave, rate))
        whisper = WhisperFeatureExtractor(feature_size=80)
        theirs = whisper(wave, sampling_rate=rate, return_tensors="np").input_features[0].T
        near(features.get("whisper80", pad_to_s=30.0), wave, theirs)
