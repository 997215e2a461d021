"""The chain from samples to (T, dim) on a CPU: chunks of frames through reused buffers.

A frame of Kaldi's fbank80 costs 0.6 us of FFT; done naively, the rest costs ten times that in
memory traffic: fresh temporaries, |X|^2 through complex numbers, a dense mel matrix. Here a chunk
of 384 frames goes through all steps while it lies in the L2 cache. The complex spectrum is squared
in place as pairs of reals and multiplied with a mel matrix whose rows are doubled, which adds re^2
+ im^2 inside the product; the matrix is cut into bands, since low mel bins need few FFT bins.
Padding, reflection and mirroring are never materialised: only the first and the last chunk see
them. The int16 scale of Kaldi is a power of two and folded into the window, so it changes no bit of
the result.

`steps` is the same chain as plain functions, for gradients and other devices;
tests/features/reference.py is it in float64 numpy: the specification.
"""

from __future__ import annotations

from functools import cached_property

import torch

from features import fast, steps, tables
from features.options import Spectral
from features.samples import Samples
from features.tables import Tables

CHUNK = 384  # frames at a time


class Pipeline:
    """wave (N,) -> (T, dim), without gradients. Holds constants: threads may share it."""

    def __init__(self, options: Spectral):
        self.o = options
        self.tables = tables.make(options)
        self._tables = {self.tables.window.device: self.tables}
        self.bands = tables.bands(options, self.tables.bank) if options.num_mel_bins else None
        self.gain = tables.gain(options)
        # the limit of top_db holds for log-mel, so cepstra have to wait for the last frame
        self.late = bool(options.top_db and options.num_ceps)
        self.width = options.log_dim if self.late else options.row_dim
        self.silence = self._silence() if options.pad_to else None

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of the output; refuses what is longer than the window of `pad_to_s` or _frames."""
        n_frames = self.o.num_frames(self._padded_length(n_samples))
        if 0 < self.o.pad_to_frames < n_frames:
            raise ValueError(
                f"{n_samples} samples give {n_frames} frames, which do not fit into "
                f"pad_to_frames={self.o.pad_to_frames}; cut the wave into shorter pieces"
            )
        return self.o.rows(self.o.pad_to_frames or n_frames), self.o.dim

    def alone(self, wave) -> torch.Tensor | None:
        """Features of a plain wave, numpy or torch, by the kernel; None where it cannot.

        It cannot make anything of NaN and infinity either.
        """
        source = self._kernel.address(wave) if self._kernel else 0
        if not source:
            return None
        x = torch.empty(self.shape(len(wave)))
        return x if self._alone(source, len(wave), x) else None

    def whole(self, wave: torch.Tensor, x: torch.Tensor) -> bool:
        """Let the kernel write all of `x`, as `__call__` does; False where it cannot."""
        source = self._kernel.address(wave) if self._kernel else 0
        return bool(source) and x.is_contiguous() and self._alone(source, len(wave), x)

    @cached_property
    def _kernel(self) -> fast.Direct | None:
        return fast.direct(self.o, self.silence)

    def _alone(self, source: int, n: int, x: torch.Tensor) -> bool:
        n_samples = self._padded_length(n)
        total = len(x) * self.o.stack
        busy = min(self._busy(n, self.o.num_frames(n_samples)), total)
        return self._kernel.into(source, n, n_samples, busy, x.data_ptr(), total)

    def __call__(self, wave: torch.Tensor, x: torch.Tensor) -> None:
        """Features of `wave` written into `x`, of the shape that `shape` gives."""
        n_samples = self._padded_length(len(wave))
        n_frames = self.o.num_frames(n_samples)
        busy = self._busy(len(wave), n_frames)
        rows = self.room(x, n_frames)
        if busy < n_frames:
            rows[busy:] = self.silence
        wave = self.emphasised(self.dithered(wave))
        if not fast.run(self.o, wave, n_samples, rows[:busy]):
            self.fill(Samples(wave, n_samples, self.o.edges), 0, rows[:busy])
        self.finish(rows, x)

    def dithered(self, wave: torch.Tensor) -> torch.Tensor:
        """Wave with the noise that `dither` wants."""
        if not self.o.dither:
            return wave
        return wave + torch.randn_like(wave) * (self.o.dither / self.o.scale)

    def emphasised(self, wave: torch.Tensor) -> torch.Tensor:
        """Wave after the preemphasis, when that is global."""
        return steps.emphasise(wave, self.o.preemphasis) if self.o.global_preemphasis else wave

    def on(self, device: torch.device) -> Tables:
        """The constants on another device; the copy is kept."""
        if device not in self._tables:
            self._tables[device] = self.tables.to(device)
        return self._tables[device]

    def room(self, x: torch.Tensor, n_frames: int) -> torch.Tensor:
        """Where frames go: into the output itself unless their rows are yet to change shape."""
        direct = self.o.stack == 1 and not (self.late or self.o.deltas or self.o.lfr)
        return x[:n_frames] if direct else x.new_empty(n_frames, self.width)

    def fill(self, source: Samples, first: int, rows: torch.Tensor) -> None:
        """Frames from `first` on written into `rows`."""
        if rows.device.type != "cpu" and len(rows):
            rows.copy_(steps.part(source, first, len(rows), self.o, self.on(rows.device)))
            return
        o, work = self.o, _Buffers(self.o, min(len(rows), CHUNK), rows)
        for start in range(0, len(rows), work.rows):
            stop = min(start + work.rows, len(rows))
            begin = o.first_sample(first + start)
            end = o.first_sample(first + stop - 1) + o.frame_length
            self._chunk(source.read(begin, end), work, rows[start:stop])

    def plain(self, waves: torch.Tensor, lengths: list[int], n_rows: int) -> torch.Tensor:
        """Waves (B, N) to (B, n_rows, dim) by the plain functions: any device, with gradients."""
        return steps.features(waves, lengths, n_rows, self.o, self.on(waves.device))

    def finish(self, rows: torch.Tensor, x: torch.Tensor) -> None:
        """What needs all frames, and the last steps: from `rows` to the output `x`."""
        o = self.o
        if o.top_db and len(rows):
            mel = rows[:, int(o.energy_first) :]
            mel.clamp_(min=float(mel.max()) - steps.span(o.top_db, o.log))
        if self.late:
            rows = steps.cepstra(rows, o, self.tables)
        if o.cmvn:
            rows.copy_(steps.normalised(rows, None, o, self.on(rows.device)))
        if o.deltas or o.lfr:
            rows = steps.widened(rows, o)
        target = x.view(-1, rows.shape[1])
        n = min(len(rows), len(target))
        if target.data_ptr() != rows.data_ptr():
            target[:n] = rows[:n]
        target[n:] = 0.0
        if o.offset or o.divisor != 1.0:
            target.add_(o.offset).div_(o.divisor)

    def _busy(self, n_samples: int, n_frames: int) -> int:
        """Frames that see a sample of the wave; the rest of a window of `pad_to_s` is silence."""
        if not self.o.pad_to:
            return n_frames
        seen = -((self.o.first_sample(0) - n_samples) // self.o.frame_shift)  # rounded up
        return min(n_frames, seen) if n_samples else 0

    def _padded_length(self, n_samples: int) -> int:
        if not self.o.pad_to:
            return n_samples
        if n_samples > self.o.pad_to:
            raise ValueError(
                f"{n_samples} samples ({n_samples / self.o.sampling_rate:.2f} s) do not fit into "
                f"the window of pad_to_s={self.o.pad_to_s:g} s; cut it into shorter pieces"
            )
        return self.o.pad_to

    def _chunk(self, samples: torch.Tensor, work: _Buffers, out: torch.Tensor) -> None:
        o, n = self.o, len(out)
        framed = samples.as_strided((n, o.frame_length), (o.frame_shift, samples.stride(0)))
        plain, ready = work.plain[:n], work.ready[:n]
        if o.remove_dc_offset:
            framed = torch.sub(framed, framed.mean(1, keepdim=True), out=plain)
        energy = (
            _log_energy(framed, o.scale, o.energy_floor) if o.use_energy and o.raw_energy else None
        )
        inside = ready[:, : o.frame_length]
        if o.preemphasis and not o.global_preemphasis:
            # two steps: `alpha` of torch.sub rounds once, the references round twice
            torch.mul(framed[:, :-1], o.preemphasis, out=inside[:, 1:])
            torch.sub(framed[:, 1:], inside[:, 1:], out=inside[:, 1:])
            torch.mul(framed[:, 0], 1.0 - o.preemphasis, out=inside[:, 0])
            inside.mul_(self.tables.window)
        else:
            torch.mul(framed, self.tables.window, out=inside)
        if o.use_energy and not o.raw_energy:
            energy = _log_energy(inside, 1.0, o.energy_floor)
        self._spectrum(torch.fft.rfft(ready), energy, out)

    def _spectrum(
        self, spectrum: torch.Tensor, energy: torch.Tensor | None, out: torch.Tensor
    ) -> None:
        """Spectrum (n, F) complex to the rows of `out`: mel, logarithm, cepstra, energy."""
        o = self.o
        squares = torch.view_as_real(spectrum).flatten(1)
        squares.mul_(squares)
        if o.use_energy and o.spectral_energy:
            energy = squares.sum(1).mul_(self.gain).clamp_(min=o.floor or steps.TINY).log_()
        if self.bands is None or o.power == 1:
            squares = squares.unflatten(1, (-1, 2)).sum(2)
            squares = squares.sqrt_() if o.power == 1 else squares
        now = o.num_ceps and not self.late
        target = out.new_empty(len(out), o.num_mel_bins) if now else out[:, int(o.energy_first) :]
        if self.bands is None:
            torch.mul(squares, self.gain, out=target)
        for low, high, begin, end, matrix in self.bands or ():
            torch.mm(squares[:, low:high], matrix, out=target[:, begin:end])
        _logarithm(target, o)
        if now:
            # not into `out` itself: there its place in memory shows in digits
            out.copy_(steps.transformed(target, o, self.tables))
        if energy is not None:
            out[:, 0] = energy

    def _silence(self) -> torch.Tensor:
        """The row (1, width) that a frame of zeros gives, before `finish`."""
        row = self.tables.window.new_empty(1, self.width)
        self._chunk(row.new_zeros(self.o.frame_length), _Buffers(self.o, 1, row), row)
        return row


class _Buffers:
    """Memory of one chunk: `plain` (rows, frame_length), `ready` (rows, fft_length), tail 0."""

    def __init__(self, o: Spectral, rows: int, like: torch.Tensor):
        self.rows = max(rows, 1)
        self.plain = like.new_empty(self.rows, o.frame_length if o.remove_dc_offset else 0)
        self.ready = like.new_zeros(self.rows, o.fft_length)


def _logarithm(x: torch.Tensor, o: Spectral) -> None:
    """In place what `steps.logarithm` is."""
    if o.log == "none":
        return
    if o.guard:
        x.add_(o.guard)
    x.clamp_(min=o.floor)
    x.log_() if o.log == "ln" else x.log10_()
    if o.log == "db":
        x.mul_(10.0)


def _log_energy(framed: torch.Tensor, scale: float, floor: float) -> torch.Tensor:
    """ln of the frame's energy in units of `scale`, floored like the spectrum."""
    energy = torch.linalg.vector_norm(framed, dim=1).square_() * scale**2
    return energy.clamp_(min=max(steps.TINY, floor)).log_()
