"""From mel energies to PLP cepstra: loudness, autocorrelation, linear prediction, its cepstrum.

Equal loudness weighs the bins, a root in place of the logarithm makes loudness of power, and the
spectrum of `lpc_order` poles that fits it best is told by its cepstrum. Torch, over any leading
dimensions, differentiable. Sources: Hermansky, Perceptual linear predictive analysis of speech,
JASA 87, 1990; Kaldi feat/feature-plp.cc, feat/mel-computations.cc.
"""

from __future__ import annotations

import numpy as np
import torch

from features import cepstra, mel
from features.options import EPSILON, Spectral

LEAST_GAIN = 1e-5  # of one step of the recursion (Kaldi): a tone would leave nothing


def autocorrelation(o: Spectral) -> np.ndarray:
    """Float64 (num_mel_bins, lpc_order + 1): autocorrelation = energies ** compress_factor @ this.

    The inverse cosine transform of a spectrum whose first and last bins stand twice, at 0 Hz and at
    half the rate too; its rows carry the equal loudness.
    """
    angle = np.pi / (o.num_mel_bins + 1)
    points = np.arange(o.num_mel_bins + 2)
    matrix = np.cos(angle * np.outer(points, np.arange(o.lpc_order + 1))) / (o.num_mel_bins + 1)
    matrix[[0, -1]] *= 0.5
    matrix[1] += matrix[0]
    matrix[-2] += matrix[-1]
    return matrix[1:-1] * (_equal_loudness(_centres_hz(o)) ** o.compress_factor)[:, None]


def cepstra_of(energies: torch.Tensor, o: Spectral, matrix: torch.Tensor) -> torch.Tensor:
    """PLP cepstra (..., num_ceps) of mel energies (..., num_mel_bins), by `autocorrelation`.

    Nothing is below `floor`, so silence has cepstra, too (Kaldi: no numbers).
    """
    lags = energies.clamp(min=o.floor).pow(o.compress_factor) @ matrix
    filter_, error = _durbin(lags)
    log_error = error.log().clamp(min=EPSILON)  # Kaldi floors the logarithm itself
    rows = torch.stack([log_error, *_cepstrum(filter_, o.num_ceps - 1)], -1)
    return rows * torch.tensor(weights(o).tolist(), dtype=rows.dtype, device=rows.device)


def weights(o: Spectral) -> np.ndarray:
    """What cepstra are multiplied by, float32 (num_ceps,)."""
    lifter = cepstra.lifter(o.num_ceps, o.cepstral_lifter, o.lifter_start)
    return np.float32(o.cepstral_scale * lifter)


def _durbin(lags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Levinson and Durbin: lags (..., p + 1) to the filter (..., p) and its error (...)."""
    filter_, error = lags[..., :0], lags[..., 0]
    for i in range(lags.shape[-1] - 1):
        past = (filter_ * lags[..., 1 : i + 1].flip(-1)).sum(-1)
        k = ((lags[..., i + 1] + past) / error)[..., None]
        filter_ = torch.cat((filter_ - k * filter_.flip(-1), -k), -1)
        error = error * (1.0 - k[..., 0] ** 2).clamp(min=LEAST_GAIN)
    return filter_, error


def _cepstrum(filter_: torch.Tensor, n: int) -> list[torch.Tensor]:
    """The cepstrum of 1 / (1 + a1 z^-1 + ...) from its first coefficient on, n of them (...)."""
    found: list[torch.Tensor] = []
    for i in range(n):
        past = sum(((i - j) * filter_[..., j] * found[i - j - 1] for j in range(i)), 0.0)
        found.append(-filter_[..., i] - past / (i + 1))
    return found


def _centres_hz(o: Spectral) -> np.ndarray:
    """Middles of the mel filters in Hz (num_mel_bins,), warped as they are."""
    edges = mel.mel_edges(o.num_mel_bins, o.low_freq, o.top_freq, o.mel_scale)
    hz = mel.mel_to_hz(edges[1:-1], o.mel_scale)
    if o.vtln_warp == 1.0:
        return hz
    return mel.vtln_warp(hz, o.vtln_warp, o.low_freq, o.top_freq, o.vtln_low, o.vtln_high)


def _equal_loudness(hz: np.ndarray) -> np.ndarray:
    """How loud a frequency is heard at 40 phon (Hermansky's equation 4, in Hz as in HTK)."""
    square = hz**2
    return (square / (square + 1.6e5)) ** 2 * (square + 1.44e6) / (square + 9.61e6)
