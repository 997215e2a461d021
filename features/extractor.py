"""The extractor: a preset with its options, called on waves.

    x, n = fe(wave)               (N,)             -> (T, dim) float32, T
    x, n = fe(waves, lengths)     (B, N), (B,)     -> (B, T, dim), (B,) int64; zeros beyond each n
    wave16k                       (N,)             -> (N,), N
    stream = fe.stream()          the same in chunks (see `streaming`)

On a CPU a batch is computed utterance by utterance: that is the faster way (the working set stays
in cache, and no frame of padding is computed), and it makes batch = single true to the last bit.
Where a gradient is wanted, on other devices and under `torch.compile` the plain functions of
`steps` run instead, on the whole batch at once. Autocast is switched off inside: a mel bank in
bfloat16 has two digits.
"""

from __future__ import annotations

import math
import os

import numpy as np
import torch

from features import normalise, presets, scale
from features.options import Spectral, Wave
from features.padded import Padded
from features.resampling import Resampler
from features.spectral import Pipeline
from features.streaming import Stream, exact


def get(name: str, **options) -> Extractor:
    """The extractor of preset `name`; any of its options can be given another value.

    `dtype="float64"` computes and returns float64; it is an option like the others. Raises
    ValueError for unknown names ("did you mean ...?") and senseless values.
    """
    return Extractor(name, presets.options(name, **options))


class Extractor:
    """A front end with fixed options; call it on waves."""

    def __init__(self, name: str, options: Wave | Spectral):
        self.name = name
        self._options = options
        self._dtype = getattr(torch, options.dtype)
        self._loud = scale.Loud(name, options)
        self._pipeline = _Raw(options) if isinstance(options, Wave) else _pipeline(options)

    def __repr__(self):
        return f"features.get({self.name!r}, **{self.options()})"

    def __reduce__(self):  # tables that lie on a GPU do not travel
        return Extractor, (self.name, self._options)

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

    @property
    def mel_axis(self) -> dict:
        """Keywords of `augment.warp_mel` for this output; ValueError when it has no mel bins."""
        if self._options.mel_axis is None:
            raise ValueError(f"{self.name} gives no mel bins to warp; take a log-mel front end")
        return self._options.mel_axis

    def options(self) -> dict:
        """All options as plain values; `get(fe.name, **fe.options())` is this extractor again."""
        return presets.plain(self._options)

    def count(self, n_samples: int) -> int:
        """Output steps for `n_samples` samples, exactly, without computing anything."""
        return self._options.count(n_samples)

    def stream(self, sampling_rate: int | None = None) -> Stream:
        """A fresh stream: call it on chunks, then `flush()`.

        Chunks at another `sampling_rate` in Hz are resampled on the way. Raises ValueError with the
        reason when the preset needs the whole utterance.
        """
        if self._options.whole:
            raise ValueError(f"{self.name} cannot stream: {self._options.whole}")
        resampler = None
        if sampling_rate not in (None, self.sampling_rate):
            if not sampling_rate > 0:
                raise ValueError(f"sampling_rate={sampling_rate}: wanted Hz above 0; correct it")
            resampler = Resampler(sampling_rate, self.sampling_rate)
        return Stream(self._options, self._pipeline, self._checked, resampler)

    def __call__(self, wave, lengths=None, sampling_rate: int | None = None):
        """Features of one wave (N,), or of a batch (B, N) with `lengths` (B,) in samples.

        `wave` is numpy or torch, float, in [-1, 1]; `sampling_rate` is checked when it is given. A
        wave that requires a gradient gets one. Raises ValueError for integers, more than one
        channel, NaN or infinity, another rate, lengths that do not fit, and waves longer than the
        window of `pad_to_s` or `pad_to_frames`.
        """
        self._check_rate(sampling_rate)
        if lengths is None and not torch.compiler.is_compiling():
            self._loud(wave)
            x = self._pipeline.alone(wave)
            if x is not None:
                return x, self.count(len(wave))
        wave = _tensor(wave, self._dtype)
        single = lengths is None
        if single:
            _refuse_channels(wave)
        lengths = [len(wave)] if single else _lengths(lengths, wave)
        waves = wave[None] if single else wave
        shapes = [self._pipeline.shape(n) for n in lengths]
        with exact(wave.device.type):
            if _plain(wave):
                if not torch.compiler.is_compiling():
                    _refuse_nans(waves, lengths, single)
                x = self._pipeline.plain(waves, lengths, max(shapes)[0])
            else:
                x = self._fast(waves, lengths, shapes, single)
        if single:
            return x[0], self.count(lengths[0])
        return x, torch.tensor([self.count(n) for n in lengths], device=wave.device)

    @torch.no_grad()
    def _fast(self, waves, lengths: list[int], shapes: list, single: bool) -> torch.Tensor:
        """Features of a batch, one utterance after the other, each into its place."""
        room = waves.new_empty if len(shapes) == 1 else waves.new_zeros
        x = room(len(lengths), *max(shapes))
        for i, (n, shape) in enumerate(zip(lengths, shapes, strict=True)):
            wave, rows = waves[i, :n], x[i, : shape[0]]
            if not self._pipeline.whole(wave, rows):
                _refuse_nan(wave, _item(i, single))
                self._pipeline(wave, rows)
        return x

    def _checked(self, chunk) -> torch.Tensor:
        """One chunk of a stream as a tensor (N,)."""
        chunk = _tensor(chunk, self._dtype).detach()
        self._loud(chunk)
        _refuse_channels(chunk)
        _refuse_nan(chunk, "the chunk")
        return chunk

    def _check_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate not in (None, self.sampling_rate):
            raise ValueError(
                f"{self.name} wants {self.sampling_rate} Hz, the wave has {sampling_rate} Hz; "
                f"features.resample(wave, {sampling_rate}, {self.sampling_rate}) changes the wave, "
                f"the option sampling_rate={sampling_rate} the front end"
            )


def _pipeline(options: Spectral) -> Pipeline | Padded:
    return Pipeline(options) if options.pad_longer == "refuse" else Padded(options)


class _Raw:
    """The wave as it is, or with zero mean and unit variance."""

    def __init__(self, options: Wave):
        self.normalize = options.normalize

    def shape(self, n_samples: int) -> tuple[int]:
        """Shape of the output."""
        return (n_samples,)

    def alone(self, wave) -> None:
        """Nothing: this is torch's work."""

    def whole(self, wave: torch.Tensor, x: torch.Tensor) -> bool:
        """False: this is torch's work."""
        return False

    def __call__(self, wave: torch.Tensor, x: torch.Tensor) -> None:
        """The wave written into `x` (N,)."""
        if not self.normalize or not len(wave):
            x.copy_(wave)
            return
        variance, mean = torch.var_mean(wave, correction=0)
        torch.div(wave - mean, (variance + 1e-7).sqrt(), out=x)  # 1e-7 as in transformers

    def plain(self, waves: torch.Tensor, lengths: list[int], n_rows: int) -> torch.Tensor:
        """Waves (B, N) to (B, n_rows); differentiable, on any device."""
        waves, ends = waves[:, :n_rows], torch.tensor(lengths, device=waves.device)
        if self.normalize:
            return normalise.utterance(waves[..., None], ends)[..., 0]
        return waves.where(torch.arange(n_rows, device=waves.device) < ends[:, None], 0.0)


def _plain(wave: torch.Tensor) -> bool:
    """Whether the plain functions have to run."""
    wants_gradient = torch.is_grad_enabled() and wave.requires_grad
    return wants_gradient or wave.device.type != "cpu" or torch.compiler.is_compiling()


def _tensor(wave, dtype: torch.dtype) -> torch.Tensor:
    """Float tensor of `dtype`; refuses what is not a float."""
    if type(wave) is np.ndarray and wave.dtype == np.float32 and wave.flags.carray:
        wave = torch.from_numpy(wave)
    elif not isinstance(wave, torch.Tensor):
        _refuse_others(wave)
        try:
            wave = np.asarray(wave)
        except ValueError:  # numpy's word for rows of unequal length
            wave = np.empty(0, dtype=object)
        if wave.dtype == object:
            raise ValueError(
                "wanted floats (N,) or (B, N), got rows of unequal length; pad them, give lengths"
            )
        kind = str(dtype).removeprefix("torch.") if wave.dtype.kind == "f" else None
        wave = torch.from_numpy(np.require(wave, kind, ("C", "W")))  # from any byte order
    if not wave.is_floating_point():
        raise ValueError(
            f"wanted float samples in [-1, 1], got {wave.dtype}; "
            "are they PCM? divide 16-bit ones by 32768"
        )
    return wave.to(dtype).contiguous()  # frames are cut by strides


def _refuse_others(wave) -> None:
    if isinstance(wave, (str, os.PathLike)):
        raise ValueError(f"wanted a wave, got the path {str(wave)!r}; features.load reads files")
    if isinstance(wave, tuple) and len(wave) == 2 and isinstance(wave[1], int):
        raise ValueError("wanted a wave, got (wave, rate) as features.load gives; take the first")


def _refuse_nans(waves: torch.Tensor, lengths: list[int], single: bool) -> None:
    if waves.device.type != "cpu":  # one look at all of it: each answer has to be waited for
        ends = torch.tensor(lengths, device=waves.device)[:, None]
        inside = torch.arange(waves.shape[1], device=waves.device) < ends
        if math.isfinite(waves.detach().where(inside, 0.0).sum().item()):
            return
    for i, n in enumerate(lengths):
        _refuse_nan(waves[i, :n], _item(i, single))


def _item(i: int, single: bool) -> str:
    return "the wave" if single else f"item {i} of the batch"


def _refuse_nan(wave: torch.Tensor, where: str) -> None:
    # the sum is finite exactly when every sample is: one cheap pass
    if not math.isfinite(wave.detach().sum().item()):
        bad = (~torch.isfinite(wave)).nonzero()
        if len(bad):
            at = int(bad[0])
            raise ValueError(
                f"{where} holds {wave[at]} at sample {at} of {len(wave)}; drop or repair it"
            )


def _refuse_channels(wave: torch.Tensor) -> None:
    if wave.ndim != 1:
        shape = tuple(wave.shape)
        raise ValueError(
            f"wanted one wave (N,), got shape {shape}; "
            "are the rows channels? take one or their mean; "
            "are they a batch? give lengths as well"
        )


def _lengths(lengths, wave: torch.Tensor) -> list[int]:
    lengths = lengths.tolist() if isinstance(lengths, torch.Tensor) else [int(n) for n in lengths]
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
