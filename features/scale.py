"""Samples on another scale than the front end expects: asked about, once a process.

Kaldi's programs and some of Python's count in 16-bit steps; every front end here takes [-1, 1] and
scales itself. On the wrong scale nothing fails: each log-mel value is 2 ln 32768 = 20.79 too high.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch

from features import presets

LOUD = 2.0  # resampling and clipping of hot recordings stay below
LOOKS = 16  # waves of an extractor that are looked at: 0.1 ms for ten seconds
_asked: set[str] = set()


class Loud:
    """Looks at the first waves of an extractor; silent where the user has chosen the scale."""

    def __init__(self, name: str, options):
        usual = presets.options(name)
        chosen = getattr(options, "scale", None) != getattr(usual, "scale", None)
        self.name, self._left = name, 0 if chosen or getattr(options, "normalize", False) else LOOKS

    def __call__(self, wave) -> None:
        """Warn if a float wave (N,) or chunk is beyond any scale of [-1, 1]."""
        if not self._left or self.name in _asked:
            return
        self._left -= 1
        if isinstance(wave, torch.Tensor):
            wave = wave.detach().cpu().float().numpy() if wave.is_floating_point() else None
        if not isinstance(wave, np.ndarray) or wave.dtype.kind != "f" or not wave.size:
            return
        loudest = max(float(wave.max()), -float(wave.min()))
        if LOUD < loudest < float("inf"):
            _asked.add(self.name)
            warnings.warn(
                f"{self.name} expects samples in [-1, 1], and these go to {loudest:.6g}: are they "
                "16-bit ones as floats? Divide them by 32768, or give scale=1.0 if the front end "
                "is to take them as they are",
                stacklevel=3,
            )
