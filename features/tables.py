"""What a front end computes once: window, mel bank and cosine transform, as torch tensors.

They are made in float64 and rounded once, to the dtype of the options. Copies for other devices are
made when a wave comes from there and are kept. Nothing is changed afterwards: threads may share it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from features import cepstra, mel, prediction, windows
from features.options import Spectral

# shares of the mel bins; rounded to 16 bins, the width that matrix products like (measured)
BAND_CUTS = (0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Tables:
    """`window` (frame_length,), `bank` (FFT bins, mel bins), `cosine` (mel bins, num_ceps), stats.

    `window` contains the scale, `bank` the division by n_fft of a periodogram, `cosine` the lifter
    (with `lpc_order` it makes autocorrelations: mel bins, lpc_order + 1);
    `stats` (2, row_dim) are mean and deviation. All but `window` are None where the options want
    none.
    """

    window: torch.Tensor
    bank: torch.Tensor | None
    cosine: torch.Tensor | None
    stats: torch.Tensor | None = None

    def to(self, device: torch.device) -> Tables:
        """The same on another device."""
        tensors = (self.window, self.bank, self.cosine, self.stats)
        return Tables(*(t if t is None else t.to(device) for t in tensors))


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # others may want gradients through what was made inside of it
def make(o: Spectral) -> Tables:
    """Tables of the options; raises ValueError when a mel filter holds no FFT bin."""
    window = windows.window(o.window, o.frame_length, o.periodic) * o.scale
    bank = cosine = None
    if o.num_mel_bins:
        bank = mel.mel_filters(
            o.num_mel_bins, o.fft_length, o.sampling_rate, o.low_freq, o.top_freq, o.mel_scale,
            o.mel_triangles, o.mel_norm, (o.vtln_warp, o.vtln_low, o.vtln_high),
            o.empty_filters,
        ).T * gain(o)  # fmt: skip
    if o.lpc_order:
        cosine = prediction.autocorrelation(o)
    elif o.num_ceps:
        rows = cepstra.dct_matrix(o.num_ceps, o.num_mel_bins, o.htk_dct)
        weights = cepstra.lifter(o.num_ceps, o.cepstral_lifter, o.lifter_start)
        cosine = (rows * weights[:, None]).T
    stats = np.array(o.stats) if o.stats else None
    arrays = (window, bank, cosine, stats)
    return Tables(*(None if t is None else tensor(t, o.dtype) for t in arrays))


def gain(o: Spectral) -> float:
    """Factor on the spectrum: 1, or 1 / n_fft for a periodogram."""
    return 1.0 / o.fft_length if o.periodogram else 1.0


def tensor(values: np.ndarray, dtype: str) -> torch.Tensor:
    """Float64 numpy to a contiguous tensor of `dtype`."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, dtype))


def bands(o: Spectral, bank: torch.Tensor) -> list[tuple[int, int, int, int, torch.Tensor]]:
    """Mel bank in pieces that skip its zeros: (row, end row, mel bin, end bin, matrix)."""
    if o.power == 2:
        bank = bank.repeat_interleave(2, dim=0)  # re^2 and im^2 stand side by side
    cuts = {0, o.num_mel_bins, *(16 * round(o.num_mel_bins * part / 16) for part in BAND_CUTS)}
    cuts = sorted(cut for cut in cuts if cut <= o.num_mel_bins)
    bands = []
    for begin, end in pairwise(cuts):
        used = bank[:, begin:end].any(dim=1).nonzero().flatten().tolist() or [0]
        low, high = used[0] & ~1, used[-1] + 1
        bands.append((low, high, begin, end, bank[low:high, begin:end].contiguous()))
    return bands
