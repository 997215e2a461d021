"""Mean and variance normalisation of features: over an utterance, over a corpus.

    utterance(x)                          each utterance by its own mean (and deviation)
    s = Statistics(dim); s.add(x); ...    over a corpus or a speaker: s.apply(x)

Statistics are summed in float64: variances from float32 sums of an hour are wrong in the third
digit. Sources: Kaldi transform/cmvn.cc, feat/feature-functions.cc.
"""

from __future__ import annotations

import torch

TINY = 1e-30  # keeps the gradient of a root finite
VARIANCE_FLOOR = 1e-10  # Kaldi's


def utterance(
    x: torch.Tensor,
    lengths: torch.Tensor | None = None,
    variance: bool = True,
    ddof: int = 0,
    eps: float = 1e-7,
    guard: float = 0.0,
) -> torch.Tensor:
    """Features (..., T, D) with zero mean over T, and with `variance` unit deviation, per column.

    `lengths` (...,) are the real frames of each item; the others do not count and come back as 0.
    The deviation is sqrt(var + eps), or sqrt(var) + `guard` where that is given; `var` over n -
    `ddof` frames. Differentiable.
    """
    wide = x.double()
    if lengths is None:
        count, inside = x.shape[-2], None
    else:
        inside = torch.arange(x.shape[-2], device=x.device) < lengths[..., None]
        inside, count = inside[..., None], lengths[..., None, None]
        wide = wide.where(inside, 0.0)
    wide = wide - wide.sum(-2, keepdim=True) / _at_least_one(count)
    if inside is not None:
        wide = wide.where(inside, 0.0)
    if variance:
        squares = wide.square().sum(-2, keepdim=True) / _at_least_one(count - ddof)
        wide = wide / (squares.clamp(min=TINY).sqrt() + guard if guard else (squares + eps).sqrt())
    return wide.to(x.dtype)


class Statistics:
    """Count, sum and sum of squares per column, added up over utterances; they can be merged."""

    def __init__(self, dim: int):
        self.count = 0
        self.total = torch.zeros(dim, dtype=torch.float64)
        self.squares = torch.zeros(dim, dtype=torch.float64)

    def add(self, x: torch.Tensor) -> Statistics:
        """Count in the frames of features (..., T, D); returns itself."""
        rows = x.detach().reshape(-1, x.shape[-1]).double().cpu()
        if rows.shape[1] != len(self.total):
            raise ValueError(
                f"wanted features of {len(self.total)} columns, got {rows.shape[1]}; "
                "statistics belong to one preset"
            )
        self.count += len(rows)
        self.total += rows.sum(0)
        self.squares += rows.square().sum(0)
        return self

    def merge(self, other: Statistics) -> Statistics:
        """Count in what another (of another worker) has seen; returns itself."""
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        return self

    @property
    def mean(self) -> torch.Tensor:
        """Mean (D,), float64. Raises ValueError when nothing was counted."""
        if not self.count:
            raise ValueError("no frame was counted, so there is no mean; add features first")
        return self.total / self.count

    @property
    def deviation(self) -> torch.Tensor:
        """Standard deviation (D,), float64, over n (Kaldi)."""
        variance = self.squares / max(self.count, 1) - self.mean.square()
        return variance.clamp(min=VARIANCE_FLOOR).sqrt()

    def apply(self, x: torch.Tensor, variance: bool = True) -> torch.Tensor:
        """Features (..., T, D) minus the mean, and with `variance` over the deviation."""
        centred = x - self.mean.to(x)
        return centred / self.deviation.to(x) if variance else centred


def _at_least_one(count):
    return count.clamp(min=1) if isinstance(count, torch.Tensor) else max(count, 1)
