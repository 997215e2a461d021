"""The extractor: a preset with its options, called on waves.

    x, n = fe(wave)               (N,)             -> (T, dim) float32, T
    x, n = fe(waves, lengths)     (B, N), (B,)     -> (B, T, dim), (B,) int64; zeros beyond each n
    wave16k                       (N,)             -> (N,), N

A batch is computed utterance by utterance: on a CPU that is the faster way (the working set stays
in cache, and no frame of padding is computed), and it makes batch = single true to the last bit.
"""

from __future__ import annotations

import numpy as np
import torch

from features import presets
from features.options import Spectral, Wave
from features.spectral import Pipeline


def get(name: str, **options) -> Extractor:
    """The extractor of preset `name`; any of its options can be given another value.

    Raises ValueError for unknown names ("did you mean ...?") and senseless values.
    """
    return Extractor(name, presets.options(name, **options))


class Extractor:
    """A front end with fixed options; call it on waves."""

    def __init__(self, name: str, options: Wave | Spectral):
        self.name = name
        self._options = options
        self._pipeline = _Raw(options) if isinstance(options, Wave) else Pipeline(options)

    def __repr__(self):
        return f"features.get({self.name!r}, **{self.options()})"

    @property
    def dim(self) -> int:
        """Width of the output; 1 for a raw wave."""
        return self._options.dim

    @property
    def frame_rate_hz(self) -> float:
        """Output steps a second."""
        return self._options.frame_rate_hz

    @property
    def sampling_rate(self) -> int:
        """Rate in Hz that the waves must have."""
        return self._options.sampling_rate

    def options(self) -> dict:
        """All options as plain values; `get(fe.name, **fe.options())` is this extractor again."""
        return presets.plain(self._options)

    def count(self, n_samples: int) -> int:
        """Output steps for `n_samples` samples, exactly, without computing anything."""
        return self._options.count(n_samples)

    @torch.no_grad()
    def __call__(self, wave, lengths=None):
        """Features of one wave (N,), or of a batch (B, N) with `lengths` (B,) in samples.

        `wave` is numpy or torch, float, in [-1, 1]. Raises ValueError for integers, more than one
        channel, NaN or infinity, lengths that do not fit, and waves longer than the window of
        `pad_to_s`.
        """
        wave = _tensor(wave)
        if lengths is None:
            _refuse_channels(wave)
            x = wave.new_empty(self._pipeline.shape(len(wave)))
            self._into(x, wave, "the wave")
            return x, self.count(len(wave))
        lengths = _lengths(lengths, wave)
        shapes = [self._pipeline.shape(n) for n in lengths]
        x = wave.new_zeros(len(lengths), *max(shapes))
        for i, (n, shape) in enumerate(zip(lengths, shapes, strict=True)):
            self._into(x[i, : shape[0]], wave[i, :n], f"item {i} of the batch")
        return x, torch.tensor([self.count(n) for n in lengths], device=wave.device)

    def _into(self, x: torch.Tensor, wave: torch.Tensor, where: str) -> None:
        """Features of one checked wave (N,), written into `x`."""
        # the sum is finite exactly when every sample is: one cheap pass
        if len(wave) and not torch.isfinite(wave.sum()):
            bad = int((~torch.isfinite(wave)).nonzero()[0])
            raise ValueError(
                f"{where} holds {wave[bad]} at sample {bad} of {len(wave)}; drop or repair it"
            )
        self._pipeline(wave, x)


class _Raw:
    """The wave as it is, or with zero mean and unit variance."""

    def __init__(self, options: Wave):
        self.normalize = options.normalize

    def shape(self, n_samples: int) -> tuple[int]:
        """Shape of the output."""
        return (n_samples,)

    def __call__(self, wave: torch.Tensor, x: torch.Tensor) -> None:
        """The wave written into `x` (N,)."""
        if not self.normalize or not len(wave):
            x.copy_(wave)
            return
        variance, mean = torch.var_mean(wave, correction=0)
        torch.div(wave - mean, (variance + 1e-7).sqrt(), out=x)  # 1e-7 as in transformers


def _tensor(wave) -> torch.Tensor:
    """Float32 torch tensor; refuses what is not a float, and graphs that would silently be cut."""
    if not isinstance(wave, torch.Tensor):
        wave = np.asarray(wave)
        if wave.dtype == object:
            raise ValueError(
                "wanted floats (N,) or (B, N), got rows of unequal length; pad them, give lengths"
            )
        kind = np.float32 if wave.dtype.kind == "f" else None  # also from the other byte order
        wave = torch.from_numpy(np.require(wave, kind, ("C", "W")))
    if not wave.is_floating_point():
        raise ValueError(
            f"wanted float samples in [-1, 1], got {wave.dtype}; "
            "are they PCM? divide 16-bit ones by 32768"
        )
    if wave.requires_grad:
        raise ValueError("this extractor has no gradient; give it wave.detach()")
    return wave.float().contiguous()  # frames are cut by strides


def _refuse_channels(wave: torch.Tensor) -> None:
    if wave.ndim != 1:
        shape = tuple(wave.shape)
        raise ValueError(
            f"wanted one wave (N,), got shape {shape}; "
            "are the rows channels? take one or their mean; "
            "are they a batch? give lengths as well"
        )


def _lengths(lengths, wave: torch.Tensor) -> list[int]:
    lengths = [int(n) for n in lengths]
    if wave.ndim != 2 or len(lengths) != len(wave) or not lengths:
        raise ValueError(
            f"wanted waves (B, N) with B lengths, got shape {tuple(wave.shape)} "
            f"and {len(lengths)} lengths"
        )
    if min(lengths) < 0 or max(lengths) > wave.shape[1]:
        raise ValueError(
            f"lengths must lie in 0..{wave.shape[1]} samples, got {min(lengths)} to {max(lengths)}"
        )
    return lengths
