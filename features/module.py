"""A front end as a `torch.nn.Module`: its tables are buffers, its work the plain functions.

    program = torch.export.export(fe.module(), (torch.zeros(2, 16000),))

For programs that run elsewhere. It takes whole batches of waves of one length, checks nothing, and
is differentiable; the extractor is the faster one on a CPU.
"""

from __future__ import annotations

import torch

from features import normalise, steps, tables
from features.options import Spectral, Wave


class Module(torch.nn.Module):
    """Waves (B, N) to features (B, T, dim), all N samples real; raw waves to (B, N)."""

    def __init__(self, options: Wave | Spectral):
        super().__init__()
        if getattr(options, "pad_longer", "refuse") != "refuse":
            raise ValueError(
                f"pad_longer={options.pad_longer!r} depends on the wave's length; take "
                "pad_longer='refuse' for a module"
            )
        self.o = options
        made = tables.make(options) if isinstance(options, Spectral) else None
        for name in ("window", "bank", "cosine", "stats"):
            self.register_buffer(name, getattr(made, name, None))

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Features of waves (B, N)."""
        if isinstance(self.o, Wave):
            return normalise.utterance(waves[..., None])[..., 0] if self.o.normalize else waves
        n, o = waves.shape[1], self.o
        n_frames = o.pad_to_frames or o.num_frames(o.pad_to or n)
        made = tables.Tables(self.window, self.bank, self.cosine, self.stats)
        return steps.features(waves, [n] * len(waves), o.rows(n_frames), o, made)
