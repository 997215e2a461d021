"""Waves of any length for encoders with windows: what `pad_longer` makes of those above `pad_to_s`.

    keep       only shorter waves are padded (Qwen3-ASR: at least half a second)
    multiple   the wave as a whole, padded to the next multiple (Voxtral)
    windows    cut into windows, each of them as if it were alone (Audio Flamingo 3)

A window's own maximum bounds its log-mel, so the last two differ.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from features.options import Spectral
from features.spectral import Pipeline


class Padded:
    """A `Pipeline` on waves that were padded or cut before."""

    def __init__(self, options: Spectral):
        self.o = options
        cut = options.pad_longer == "windows"
        size = options.pad_to_s if cut else 0.0
        self.inner = Pipeline(
            replace(options, pad_longer="refuse", pad_counts="none", pad_to_s=size)
        )
        self.window = options.pad_to if cut else 0

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of the output."""
        n_padded = self.o.padded(n_samples)
        if not self.window:
            return self.inner.shape(n_padded)
        rows, dim = self.inner.shape(self.window)
        return rows * (n_padded // self.window), dim

    def alone(self, wave) -> None:
        """Nothing: waves are padded or cut first."""

    def whole(self, wave: torch.Tensor, x: torch.Tensor) -> bool:
        """False: waves are padded or cut first."""
        return False

    def __call__(self, wave: torch.Tensor, x: torch.Tensor) -> None:
        """Features of `wave` written into `x`, of the shape that `shape` gives."""
        if not self.window:
            self.inner(self._fill(wave), x)
            return
        rows = self.inner.shape(self.window)[0]
        for piece, part in zip(wave.split(self.window), x.split(rows), strict=True):
            self.inner(piece, part)

    def plain(self, waves: torch.Tensor, lengths: list[int], n_rows: int) -> torch.Tensor:
        """Waves (B, N) to (B, n_rows, dim); differentiable, on any device."""
        items = [self._plain(wave[:n]) for wave, n in zip(waves, lengths, strict=True)]
        return torch.stack([F.pad(x, (0, 0, 0, n_rows - len(x))) for x in items])

    def _plain(self, wave: torch.Tensor) -> torch.Tensor:
        pieces = wave.split(self.window) if self.window else [self._fill(wave)]
        lengths = [len(piece) for piece in pieces]
        pieces = torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True)
        rows = self.inner.shape(self.window or lengths[0])[0]
        return self.inner.plain(pieces, lengths, rows).flatten(0, 1)

    def _fill(self, wave: torch.Tensor) -> torch.Tensor:
        return F.pad(wave, (0, self.o.padded(len(wave)) - len(wave)))
