"""Slopes of features over time, (T, D), as Kaldi's add-deltas has them.

A line is fitted to `2 window + 1` frames, the edges repeated. Order k convolves the weights k times
and the features once, so that at the edges it is no delta of deltas. Away from them the first order
is also torchaudio's compute_deltas, librosa's and python_speech_features'. Differentiable.

Source: Kaldi feat/feature-functions.cc (DeltaFeatures).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F


def kaldi(x: torch.Tensor, order: int = 2, window: int = 2) -> torch.Tensor:
    """Features (T, D) with their slopes up to `order` beside them, (T, D * (order + 1))."""
    assert order >= 0 and window >= 1
    line = _line(window)
    scales, parts = np.ones(1), [x]
    for _ in range(order):
        scales = np.convolve(scales, line)
        parts.append(_correlate(x, scales))
    return torch.cat(parts, -1)


def _line(window: int) -> np.ndarray:
    """Weights (2 window + 1,) of the slope of the line through as many frames."""
    steps = np.arange(-window, window + 1.0)
    return steps / (steps**2).sum()


def _correlate(x: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
    """Sum over k of weights[k] x[t + k - half], edges repeated; the last weight is the latest's."""
    if not len(x):
        return x
    half = len(weights) // 2
    columns = F.pad(x.T[:, None], (half, half), mode="replicate")
    kernel = torch.as_tensor(weights).to(x)[None, None]
    return F.conv1d(columns, kernel)[:, 0].T
