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
