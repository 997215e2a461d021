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

import torch

from features import inputs, normalise, presets, scale
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


def batch(waves) -> tuple[torch.Tensor, torch.Tensor]:
    """Waves (N,) of any lengths as one tensor (B, N), zeros behind each, and lengths (B,).

    A `collate_fn`, or the two first arguments of an extractor. Raises ValueError for no waves and
    for what is no wave.
    """
    tensors = [inputs.tensor(wave, torch.float32) for wave in waves]
    if not tensors:
        raise ValueError("wanted waves to batch, got none; leave the empty batch out")
    for wave in tensors:
        inputs.refuse_channels(wave)
    lengths = torch.tensor([len(wave) for wave in tensors])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths


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

    def batch(self, waves) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, T, dim), (B,) of waves of any lengths: what a DataLoader collates."""
        return self(*batch(waves))

    def module(self) -> torch.nn.Module:
        """This extractor as a module that torch.export takes: waves (B, N) to (B, T, dim)."""
        from features.module import Module

        return Module(self._options)

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
        wave = inputs.tensor(wave, self._dtype)
        single = lengths is None
        if single:
            inputs.refuse_channels(wave)
        lengths = [len(wave)] if single else inputs.lengths(lengths, wave)
        waves = wave[None] if single else wave
        shapes = [self._pipeline.shape(n) for n in lengths]
        with exact(wave.device.type):
            if _plain(wave):
                if not torch.compiler.is_compiling():
                    inputs.refuse_nans(waves, lengths, single)
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
                inputs.refuse_nan(wave, inputs.item(i, single))
                self._pipeline(wave, rows)
        return x

    def _checked(self, chunk) -> torch.Tensor:
        """One chunk of a stream as a tensor (N,)."""
        chunk = inputs.tensor(chunk, self._dtype).detach()
        self._loud(chunk)
        inputs.refuse_channels(chunk)
        inputs.refuse_nan(chunk, "the chunk")
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
