"""Mean and variance normalisation of features: over an utterance, over a corpus, over a window.

    utterance(x)                          each utterance by its own mean (and deviation)
    s = Statistics(dim); s.add(x); ...    over a corpus or a speaker: s.apply(x)
    sliding(x, window=600)                by the frames around or before each one, as in streaming

Statistics are summed in float64: variances from float32 sums of an hour are wrong in the third
digit. Sources: Kaldi transform/cmvn.cc, feat/feature-functions.cc (SlidingWindowCmn).
"""

from __future__ import annotations

import torch

VARIANCE_FLOOR = 1e-10  # Kaldi's, of sliding windows


def utterance(
    x: torch.Tensor,
    lengths: torch.Tensor | None = None,
    variance: bool = True,
    ddof: int = 0,
    eps: float = 1e-7,
) -> torch.Tensor:
    """Features (..., T, D) with zero mean over T, and with `variance` unit deviation, per column.

    `lengths` (...,) are the real frames of each item; the others do not count and come back as 0.
    The deviation is sqrt(var + eps), `var` over n - `ddof` frames. Differentiable.
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
        squares = wide.square().sum(-2, keepdim=True)
        wide = wide / (squares / _at_least_one(count - ddof) + eps).sqrt()
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


def sliding(
    x: torch.Tensor,
    window: int = 600,
    min_window: int = 100,
    center: bool = False,
    variance: bool = False,
) -> torch.Tensor:
    """Features (T, D), each frame by the statistics of a window of frames (apply-cmvn-sliding).

    The window ends with the frame, or lies around it with `center`; at the start it reaches ahead
    until it holds `min_window` frames. Raises ValueError for windows that hold nothing.
    """
    if not 0 < min_window <= window:
        raise ValueError(
            f"wanted 0 < min_window <= window frames, got min_window={min_window} "
            f"and window={window}; change one of them"
        )
    start, end = _spans(len(x), window, min_window, center, x.device)
    wide = x.double() - x.double().mean(0)  # sums of small numbers: no digits lost
    count = (end - start)[:, None]
    mean = _between(wide, start, end) / count
    if not variance:
        return (wide - mean).to(x.dtype)
    spread = _between(wide.square(), start, end) / count - mean.square()
    scaled = (wide - mean) / spread.clamp(min=VARIANCE_FLOOR).sqrt()
    return scaled.where(count > 1, 0.0).to(x.dtype)


def _spans(n_frames: int, window: int, min_window: int, center: bool, device) -> tuple:
    """First frame and end of the window of each frame, (T,) and (T,)."""
    t = torch.arange(n_frames, device=device)
    if center:
        start, end = t - window // 2, t - window // 2 + window
    else:
        start, end = t - window, t + 1
    before = (-start).clamp(min=0)
    start, end = start + before, end + before
    if not center:  # what was moved in from before the start is not taken from the future ...
        end = torch.where(end > t, torch.maximum(t + 1, torch.full_like(t, min_window)), end)
    beyond = (end - n_frames).clamp(min=0)
    return (start - beyond).clamp(min=0), end - beyond


def _between(x: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Sums (T, D) of the rows [start, end) of `x` (T, D), by differences of running sums."""
    running = torch.cat((x.new_zeros(1, x.shape[1]), x.cumsum(0)))
    return running[end] - running[start]


def _at_least_one(count):
    return count.clamp(min=1) if isinstance(count, torch.Tensor) else max(count, 1)
