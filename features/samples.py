"""Samples by their place in the signal, also before its start and beyond its end.

Offline the whole wave is there; in a stream only its last part is, and the first samples have been
dropped. Frames read from both in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from features import frames

_EDGES = {"mirror": frames.mirror, "reflect": frames.reflect, "constant": lambda index, n: index}


@dataclass(frozen=True)
class Samples:
    """`wave` (N,) holds the samples from `offset` on of a signal of `n_samples`.

    Beyond the wave come zeros up to `n_samples`; beyond the signal what `edges` says: "mirror",
    "reflect" or "constant" (zeros).
    """

    wave: torch.Tensor
    n_samples: int
    edges: str
    offset: int = 0

    def read(self, first: int, end: int) -> torch.Tensor:
        """Samples [first, end): a view inside the wave, a copy beyond its edges."""
        low, high = self.offset, self.offset + len(self.wave)
        if first >= low and end <= high:
            return self.wave[first - low : end - low]
        before = self._beyond(first, min(end, low))
        after = self._beyond(max(first, high), end)
        return torch.cat((before, self.wave[max(first - low, 0) : max(end - low, 0)], after))

    def _beyond(self, first: int, end: int) -> torch.Tensor:
        index = torch.arange(first, max(first, end), device=self.wave.device)
        index = _EDGES[self.edges](index, self.n_samples) - self.offset
        outside = (index < 0) | (index >= len(self.wave))
        return self.wave[index.clamp_(0, len(self.wave) - 1)].masked_fill_(outside, 0.0)


def place(index: torch.Tensor, n_samples: torch.Tensor, edges: str) -> torch.Tensor:
    """Where position `index` reads from in signals of `n_samples` (broadcast); -1 for a zero."""
    index = _EDGES[edges](index, n_samples.clamp(min=1))
    return index.where((index >= 0) & (index < n_samples), -1)
