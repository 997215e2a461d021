"""Augmentation: functions on waves (N,) and features (T, F), and on batches of them.

    noisy = add_noise(wave, noises, (5.0, 20.0), rng)                         # (N,) -> (N,)
    waves, lengths = add_noise(waves, noises, (5.0, 20.0), rng, lengths=lengths)   # (B, N), (B,)
    x, lengths = spec_augment(x, rng, lengths=lengths)                        # (B, T, F), (B,)

Chance comes from a numpy generator alone. In a batch each item draws from a generator of its own
(`rng.spawn`), and only its valid part is seen, so a batch gives what its items give one by one;
padding is zero. With training=False all come back as they are. Waves are float32 numpy and stay
so; features may be numpy or torch and come back as they came. No input is changed in place. Only
`speed_perturb` changes a length, to `speed_length(n, factor)`. Where a strength may be (low, high)
or a sequence to choose from, it is drawn.

Sources: SpecAugment: Park et al., 2019; speed: Ko et al., 2015; reverberation: Ko et al., 2017;
VTLN-like warp of the mel axis: Jaitly & Hinton, 2013.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features import mel, quantize
from features.chance import between, of_batches, one_of
from features.resampling import resample, resampled_length


@of_batches
def spec_augment(
    x,
    rng: np.random.Generator,
    freq_masks: int = 2,
    freq_width: int = 27,
    time_masks: int = 2,
    time_width: int = 100,
    time_ratio: float = 0.2,
    fill: str = "mean",
):
    """Features (T, F) with bands of bins and stretches of frames masked by the mean or zero.

    A band is 0..freq_width bins wide; a stretch 0..time_width frames, and never more than
    time_ratio * T.
    """
    if fill not in ("mean", "zero"):
        raise ValueError(f"fill={fill!r}: wanted 'mean' or 'zero'")
    n_frames, n_bins = x.shape
    y = x.clone() if hasattr(x, "clone") else x.copy()
    value = float(x.mean()) if fill == "mean" and n_frames else 0.0
    for _ in range(freq_masks):
        begin, end = _stretch(rng, n_bins, min(freq_width, n_bins))
        y[:, begin:end] = value
    for _ in range(time_masks):
        begin, end = _stretch(rng, n_frames, min(time_width, int(time_ratio * n_frames)))
        y[begin:end] = value
    return y


@of_batches
def time_warp(x, rng: np.random.Generator, width: int = 40):
    """Features (T, F) with one frame moved by up to `width` and the rest stretched to fit.

    Unchanged when T <= 2 * width.
    """
    n_frames = x.shape[0]
    if width <= 0 or n_frames <= 2 * width:
        return x
    middle = int(rng.integers(width, n_frames - width))
    moved = min(max(middle + int(rng.integers(-width, width + 1)), 1), n_frames - 2)
    at = np.interp(np.arange(n_frames), [0, moved, n_frames - 1], [0, middle, n_frames - 1])
    return _interpolate(x, at, axis=0)


@of_batches
def warp_mel(
    x,
    factor: float | tuple[float, float],
    low_freq: float = 20.0,
    high_freq: float = 8000.0,
    scale: str = "htk",
    low_knee: float = 100.0,
    high_knee: float = -500.0,
    first: int = 0,
    stack: int = 1,
    rng: np.random.Generator | None = None,
):
    """Log-mel (T, F) as from a vocal tract `factor` times as long (> 1: lower formants).

    Each bin takes the value that lies `factor` times as high in Hz, by linear interpolation between
    bins: a cheap VTLN for corpora of few speakers; 0.9 to 1.1 is usual. The other keywords say
    where the bins lie, Kaldi's fbank at 16 kHz unless told; `**extractor.mel_axis` are those of a
    front end: edges in Hz, mel scale, the knees of `mel.vtln_warp`, columns before the bins, frames
    side by side in a row. Raises ValueError for a factor that moves a knee past an edge.
    """
    factor = between(factor, rng, "factor")
    if not 0.5 <= factor <= 2.0:
        raise ValueError(f"factor={factor}: wanted a warp between 0.5 and 2.0, usually 0.9 to 1.1")
    n_columns = x.shape[1] // stack
    corners = mel.mel_edges(n_columns - first, low_freq, high_freq, scale)
    centres = mel.mel_to_hz(corners[1:-1], scale)
    warped = mel.vtln_warp(centres, 1.0 / factor, low_freq, high_freq, low_knee, high_knee)
    columns = np.arange(n_columns, dtype=np.float64)
    at = np.interp(mel.hz_to_mel(warped, scale), corners[1:-1], columns[first:])
    frames = n_columns * np.arange(stack)[:, None]
    return _interpolate(x, (frames + np.append(columns[:first], at)).ravel(), axis=1)


def speed_length(n_samples: int, factor: float) -> int:
    """Samples that `speed_perturb` makes of `n_samples`."""
    return resampled_length(n_samples, float(factor), 1.0)


@of_batches
def speed_perturb(
    wave: np.ndarray, factor: float | Sequence[float], rng: np.random.Generator | None = None
) -> np.ndarray:
    """Wave (N,) played `factor` times as fast, pitch and all: (speed_length(N, factor),).

    Of several factors one is drawn. Raises ValueError for one outside 0.25 to 4.
    """
    factor = one_of(factor, rng, "factor")
    if not 0.25 <= factor <= 4.0:
        raise ValueError(
            f"factor={factor}: wanted a speed between 0.25 and 4.0, usually 0.9, 1.0 or 1.1"
        )
    return resample(wave, float(factor), 1.0)


@of_batches
def gain(
    wave: np.ndarray,
    gain_db: float | tuple[float, float],
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Wave louder by `gain_db` dB, or by as much as is drawn from low to high; no clipping."""
    return wave * np.float32(10.0 ** (between(gain_db, rng, "gain_db") / 20.0))


@of_batches
def add_noise(
    wave: np.ndarray,
    noise: np.ndarray | Sequence[np.ndarray],
    snr_db: float | tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Wave (N,) with a random part of `noise` (M,) added at `snr_db` dB, power against power.

    Of several noises one is drawn. Shorter noise is repeated from a random start. Where the wave or
    the part of the noise is silent no ratio exists, and the wave comes back as it is. Raises
    ValueError for noise without samples or all zero.
    """
    noise, snr_db = one_of(noise, rng, "noise"), between(snr_db, rng, "snr_db")
    if not len(noise) or not np.any(noise):
        raise ValueError(
            f"noise of {len(noise)} samples is silent or empty; take it out of the noise list"
        )
    part = _part(noise, len(wave), rng)
    power, noise_power = _power(wave), _power(part)
    if power == 0.0 or noise_power == 0.0:
        return wave.copy()
    return wave + part * np.float32(np.sqrt(power / noise_power / 10.0 ** (snr_db / 10.0)))


@of_batches
def reverberate(
    wave: np.ndarray,
    impulse_response: np.ndarray | Sequence[np.ndarray],
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Wave (N,) as heard in a room: direct sound in its old place, same power, cut to (N,).

    Of several impulse responses one is drawn. Raises ValueError for one without samples or all
    zero.
    """
    impulse_response = one_of(impulse_response, rng, "impulse_response")
    if not len(impulse_response) or not np.any(impulse_response):
        raise ValueError(
            f"impulse response of {len(impulse_response)} samples is silent or empty; take another"
        )
    direct = int(np.abs(impulse_response).argmax())
    n_fft = 1 << (len(wave) + len(impulse_response)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(wave, n_fft) * np.fft.rfft(impulse_response, n_fft), n_fft)
    wet = wet[direct : direct + len(wave)]
    power = _power(wet)
    return (wet * np.sqrt(_power(wave) / power) if power else wet).astype(np.float32)


@of_batches
def telephone(
    wave: np.ndarray,
    sampling_rate: int = 16000,
    low_hz: float = 300.0,
    high_hz: float = 3400.0,
    law: str | Sequence[str] = "mulaw",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Wave (N,) as a telephone carries it: 8 kHz, 300 to 3400 Hz, G.711; same rate and length.

    Of several laws ("mulaw", "alaw") one is drawn.
    """
    narrow = resample(wave, sampling_rate, 8000)
    if not len(narrow):
        return wave.copy()
    hz = np.fft.rfftfreq(len(narrow), 1 / 8000)
    band = _ramp(hz, low_hz - 100, low_hz) * (1.0 - _ramp(hz, high_hz, high_hz + 300))
    narrow = np.fft.irfft(np.fft.rfft(narrow) * band, len(narrow))
    law = one_of(law, rng, "law")
    coded = quantize.g711_decode(quantize.g711_encode(narrow, law), law)
    wide = resample(coded, 8000, sampling_rate)
    return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


def _ramp(hz: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cosine between: no ringing from a hard edge."""
    return 0.5 - 0.5 * np.cos(np.pi * np.clip((hz - low) / (high - low), 0.0, 1.0))


def _stretch(rng: np.random.Generator, size: int, longest: int) -> tuple[int, int]:
    width = int(rng.integers(0, longest + 1))
    begin = int(rng.integers(0, size - width + 1))
    return begin, begin + width


def _part(noise: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    if len(noise) >= n:
        begin = int(rng.integers(0, len(noise) - n + 1))
        return noise[begin : begin + n]
    begin = int(rng.integers(0, len(noise)))
    return np.take(noise, np.arange(begin, begin + n), mode="wrap")


def _power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64))) if len(wave) else 0.0


def _interpolate(x, at: np.ndarray, axis: int):
    """Rows or columns of `x` at fractional positions, linearly."""
    left = np.minimum(at.astype(np.int64), x.shape[axis] - 1)
    right = np.minimum(left + 1, x.shape[axis] - 1)
    weight = (at - left).astype(np.float32)
    if hasattr(x, "clone"):
        weight = x.new_tensor(weight)
    weight = weight[:, None] if axis == 0 else weight[None, :]
    first, second = (x[left], x[right]) if axis == 0 else (x[:, left], x[:, right])
    return first + (second - first) * weight
