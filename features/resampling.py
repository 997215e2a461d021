"""Sampling-rate conversion by soxr, with a length that is known beforehand."""

from __future__ import annotations

import numpy as np
import soxr


def resampled_length(n_samples: int, rate: float, target: float) -> int:
    """Samples after resampling from `rate` to `target`: n * target / rate, halves up."""
    if float(rate).is_integer() and float(target).is_integer():
        return (2 * n_samples * int(target) + int(rate)) // (2 * int(rate))
    return int(n_samples * target / rate + 0.5)


def resample(wave: np.ndarray, rate: float, target: float) -> np.ndarray:
    """Wave (..., N) at `rate` to (..., resampled_length(N)) at `target`; float32, soxr HQ."""
    if not target > 0:
        raise ValueError(f"wanted a sampling rate of {target} Hz; it must be above 0")
    if rate == target or not wave.shape[-1]:
        return wave
    n = resampled_length(wave.shape[-1], rate, target)
    flat = np.ascontiguousarray(wave.reshape(-1, wave.shape[-1]).T, dtype=np.float32)
    out = soxr.resample(flat, rate, target).T[:, :n]
    if out.shape[1] < n:  # soxr rounds as we do; this guards the length that others have counted on
        out = np.pad(out, ((0, 0), (0, n - out.shape[1])))
    return np.ascontiguousarray(out).reshape(*wave.shape[:-1], n)


class Resampler:
    """`resample` of a wave that comes in chunks (C, n): the same samples, as soon as they can be.

    `flush` gives the last of them. Memory does not grow with the wave.
    """

    def __init__(self, rate: float, target: float, channels: int = 1):
        if not target > 0:
            raise ValueError(f"wanted a sampling rate of {target} Hz; it must be above 0")
        self._ratio, self._channels = (rate, target), channels
        self._soxr = soxr.ResampleStream(rate, target, channels, dtype="float32")
        self.n_taken = self.n_given = 0

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """What these samples (C, n) complete, (C, m)."""
        self.n_taken += chunk.shape[1]
        return self._out(chunk, False)

    def flush(self) -> np.ndarray:
        """The rest (C, m)."""
        return self._out(np.zeros((self._channels, 0), np.float32), True)

    def _out(self, chunk: np.ndarray, last: bool) -> np.ndarray:
        n = resampled_length(self.n_taken, *self._ratio) - self.n_given
        flat = np.ascontiguousarray(chunk.T, dtype=np.float32)
        out = self._soxr.resample_chunk(flat, last).reshape(-1, len(chunk)).T[:, :n]
        if last and out.shape[1] < n:
            out = np.pad(out, ((0, 0), (0, n - out.shape[1])))
        self.n_given += out.shape[1]
        return np.ascontiguousarray(out)
