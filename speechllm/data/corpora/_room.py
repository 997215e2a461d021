"""What stands between a mouth and a microphone: a small room, noise, level. Pure functions.

Waves are float32 (N,); `rng` is a numpy generator; levels and ratios are in decibels.
"""

import numpy as np


def reverberate(wave: np.ndarray, rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """The wave in a small room (T60 of 0.1 to 0.35 s), of the same length and time.

    Polack's model: after a gap, Gaussian noise that decays exponentially, 2 to 12 dB below the
    direct sound. J.-D. Polack, La transmission de l'énergie sonore dans les salles, 1988.
    """
    t60_s, gap_s = rng.uniform(0.1, 0.35), rng.uniform(0.002, 0.01)
    time_s = np.arange(int(t60_s * sampling_rate)) / sampling_rate
    tail = rng.standard_normal(len(time_s)) * 10 ** (-3 * time_s / t60_s) * (time_s > gap_s)
    response = tail * 10 ** (-rng.uniform(2, 12) / 20) / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return convolve(wave, response)[: len(wave)].astype(np.float32)


def convolve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Full convolution by FFT, (N + M - 1,) float64."""
    n = len(a) + len(b) - 1
    size = 1 << (n - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size)[:n]


def white(n: int, rng: np.random.Generator) -> np.ndarray:
    """White noise (n,)."""
    return rng.standard_normal(n)


def pink(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (n,) whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(1 << n.bit_length()))  # other sizes are slow
    return np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)))[:n]


def babble(
    n: int, rng: np.random.Generator, voices: list[np.ndarray], count: int = 5
) -> np.ndarray:
    """`count` of the voices at once (n,), each repeated from a place of its own."""
    noise = np.zeros(n)
    for which in rng.choice(len(voices), size=min(count, len(voices)), replace=False):
        voice = voices[which]
        noise += np.resize(np.roll(voice, rng.integers(len(voice))), n) / rms(voice)
    return noise


def add(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Wave and noise at a ratio of `snr_db` over the whole length."""
    gain = rms(wave) / max(rms(noise), 1e-9) * 10 ** (-snr_db / 20)
    return (wave + gain * noise).astype(np.float32)


def level(wave: np.ndarray, rms_db: float, peak: float = 0.98) -> np.ndarray:
    """The wave at this level below full scale, or quieter where it would pass `peak`."""
    gain = 10 ** (rms_db / 20) / max(rms(wave), 1e-9)
    return wave * np.float32(min(gain, peak / max(float(np.abs(wave).max()), 1e-9)))


def trim(wave: np.ndarray, below: float = 0.003) -> np.ndarray:
    """Without the silence at both ends (samples under this share of the peak)."""
    loud = np.flatnonzero(np.abs(wave) > below * np.abs(wave).max())
    return wave[loud[0] : loud[-1] + 1]


def rms(wave: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
