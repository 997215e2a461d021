"""Resampling against soxr, librosa and a plain windowed sinc: gain, rejection, place, length."""

import numpy as np
import pytest

from features.resampling import resample, resampled_length

PAIRS = [(8000, 16000), (44100, 16000), (48000, 16000), (16000, 8000), (22050, 16000)]


def tone(hz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def db(ratio):
    return 20 * np.log10(max(ratio, 1e-12))


def plain_sinc(wave, rate, target, at, zeros=200):
    """The specification: each output sample as a sum of windowed sincs, in float64."""
    cut = min(rate, target) / 2 * 0.95
    reach = int(np.ceil(zeros * rate / (2 * cut)))
    out = np.zeros(len(at))
    for i, n in enumerate(at):
        centre = n * rate / target
        k = np.arange(max(0, int(centre) - reach), min(len(wave), int(centre) + reach + 1))
        x = (k - centre) / reach
        window = np.i0(14.0 * np.sqrt(np.clip(1 - x * x, 0, None))) / np.i0(14.0)
        out[i] = (wave[k] * np.sinc(2 * cut / rate * (k - centre)) * window).sum() * 2 * cut / rate
    return out


@pytest.mark.parametrize(("rate", "target"), PAIRS)
def test_it_is_the_windowed_sinc(rate, target):
    """On noise that both filters let pass; the delay is none."""
    rng = np.random.default_rng(0)
    hz = rng.uniform(50, 0.42 * min(rate, target), 30)
    t = np.arange(rate // 2) / rate
    wave = (
        np.sin(2 * np.pi * hz[:, None] * t + rng.uniform(0, 6, 30)[:, None]).sum(0) / 30
    ).astype(np.float32)
    at = np.arange(target // 8, target // 8 + 200)
    apart = resample(wave, rate, target)[at] - plain_sinc(wave.astype(np.float64), rate, target, at)
    assert db(np.abs(apart).max() / np.abs(wave).max()) < -75  # a gain off by 0.001 dB


@pytest.mark.parametrize(("rate", "target"), PAIRS)
def test_passband_is_flat_and_images_and_aliases_are_gone(rate, target):
    low = min(rate, target)
    for share in (0.01, 0.2, 0.4, 0.45):  # of the lower rate; 0.5 is the Nyquist frequency
        out = resample(tone(share * low, rate), rate, target)
        middle = out[len(out) // 4 : -len(out) // 4]
        assert abs(db(np.sqrt(2 * np.mean(middle.astype(np.float64) ** 2)))) < 0.02
        rest = middle - _fitted(middle, share * low, target)
        assert db(np.abs(rest).max()) < -95
    if rate > target:
        for hz in (0.55 * target, 0.75 * target):
            if hz < rate / 2:
                out = resample(tone(hz, rate), rate, target)
                assert db(np.abs(out[len(out) // 4 : -len(out) // 4]).max()) < -95


def _fitted(wave, hz, rate):
    t = 2 * np.pi * hz * np.arange(len(wave)) / rate
    basis = np.stack([np.sin(t), np.cos(t)], axis=1)
    return basis @ np.linalg.lstsq(basis, wave.astype(np.float64), rcond=None)[0]


@pytest.mark.parametrize(("rate", "target"), PAIRS)
def test_against_soxr_and_librosa(rate, target):
    import librosa
    import soxr

    wave = (0.1 * np.random.default_rng(0).standard_normal(rate)).astype(np.float32)
    ours = resample(wave, rate, target)
    assert np.abs(ours - soxr.resample(wave, rate, target, quality="HQ")[: len(ours)]).max() < 1e-6
    theirs = librosa.resample(wave, orig_sr=rate, target_sr=target, res_type="soxr_hq")
    assert np.abs(ours - theirs[: len(ours)]).max() < 1e-6
    finest = soxr.resample(wave.astype(np.float64), rate, target, quality="VHQ")[: len(ours)]
    assert db(np.abs(ours - finest)[500:-500].std() / finest.std()) < -38  # the transition band


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 17600.0, 14400.0])
def test_resampled_length_is_real(rate):
    import soxr

    for n in [*range(30), 12345]:
        out = resample(np.zeros(n, np.float32), rate, 16000)
        assert len(out) == resampled_length(n, rate, 16000)
        assert abs(len(soxr.resample(np.zeros(n, np.float32), rate, 16000)) - len(out)) <= 1


def test_channels_are_resampled_each():
    waves = np.stack([tone(440, 44100), tone(1000, 44100)])
    both = resample(waves, 44100, 16000)
    for one, wave in zip(both, waves, strict=True):
        assert np.abs(one - resample(wave, 44100, 16000)).max() < 1e-6
