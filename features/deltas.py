"""Slopes of features over time, (T, D), in the three definitions that are in use.

All fit a line through `2 n + 1` frames; they differ at the edges and in the second order:

    kaldi        edges repeated; order k convolves the weights k times and the features once
    torchaudio   edges repeated (or another mode of torch's pad); order 2 is a delta of deltas
    librosa      edges have the slope of the first (last) full line; order 2 is the curvature of
                 a parabola, not a delta of deltas

Away from the edges `torchaudio(x, 2 n + 1)`, python_speech_features.delta(x, n), `librosa(x, 2 n +
1)` and the first order of `kaldi(x, window=n)` are the same numbers. Differentiable.

Sources: Kaldi feat/feature-functions.cc (DeltaFeatures); torchaudio.functional.compute_deltas;
librosa.feature.delta (a Savitzky-Golay filter: Savitzky & Golay 1964).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F


def kaldi(x: torch.Tensor, order: int = 2, window: int = 2) -> torch.Tensor:
    """Features (T, D) with their slopes up to `order` beside them, (T, D * (order + 1))."""
    _wanted(order >= 0, f"order={order}", "at least 0")
    _wanted(window >= 1, f"window={window}", "at least 1")
    line = _line(window)
    scales, parts = np.ones(1), [x]
    for _ in range(order):
        scales = np.convolve(scales, line)
        parts.append(_correlate(x, scales, "replicate"))
    return torch.cat(parts, -1)


def torchaudio(x: torch.Tensor, win_length: int = 5, mode: str = "replicate") -> torch.Tensor:
    """Slopes (T, D) of features (T, D) over `win_length` frames (3, 5, ...)."""
    _wanted(win_length >= 3 and win_length % 2 == 1, f"win_length={win_length}", "odd, from 3 on")
    return _correlate(x, _line(win_length // 2), mode)


def librosa(x: torch.Tensor, width: int = 9, order: int = 1) -> torch.Tensor:
    """Derivative (T, D) of `order` of features (T, D): of a polynomial through `width` frames.

    Its degree is `order`, so the derivative of the first (last) one holds up to the edge. Raises
    ValueError when there are fewer frames than `width`.
    """
    _wanted(width >= 3 and width % 2 == 1, f"width={width}", "odd, from 3 on")
    _wanted(1 <= order < width, f"order={order}", f"in 1..{width - 1}")
    _wanted(len(x) >= width, f"width={width}", f"at most the {len(x)} frames there are")
    inner = _correlate(x, _derivative(width, order), None)
    edge = width // 2
    return torch.cat((inner[:1].expand(edge, -1), inner, inner[-1:].expand(edge, -1)))


def _line(window: int) -> np.ndarray:
    """Weights (2 window + 1,) of the slope of the line through as many frames."""
    steps = np.arange(-window, window + 1.0)
    return steps / (steps**2).sum()


def _derivative(width: int, order: int) -> np.ndarray:
    """Weights (width,) of derivative `order` of the polynomial of that degree (least squares)."""
    steps = np.arange(width) - width // 2
    powers = np.vander(steps.astype(float), order + 1, increasing=True)
    return np.linalg.pinv(powers)[order] * math.factorial(order)


def _correlate(x: torch.Tensor, weights: np.ndarray, mode: str | None) -> torch.Tensor:
    """Sum over k of weights[k] x[t + k - half], edges by `mode` of torch's pad; None: inside only.

    Order of the weights as in Kaldi: the last one belongs to the latest frame.
    """
    if not len(x):
        return x
    half = len(weights) // 2
    columns = x.T[:, None]
    if mode is not None:
        columns = F.pad(columns, (half, half), mode=mode)
    kernel = torch.as_tensor(weights).to(x)[None, None]
    return F.conv1d(columns, kernel)[:, 0].T


def _wanted(good: bool, given: str, wanted: str) -> None:
    if not good:
        raise ValueError(f"{given}: it must be {wanted}; change it")
