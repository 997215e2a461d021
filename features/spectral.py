"""The chain from samples to (T, dim) in torch: chunks of frames through reused buffers.

A frame of Kaldi's fbank80 costs 0.6 us of FFT; done naively, the rest costs ten times that in
memory traffic: fresh temporaries, |X|^2 through complex numbers, a dense mel matrix. Here a chunk
of 384 frames goes through all steps while it lies in the L2 cache. The complex spectrum is squared
in place as pairs of reals and multiplied with a mel matrix whose rows are doubled, which adds re^2
+ im^2 inside the product; the matrix is cut into bands, since low mel bins need few FFT bins.
Padding, reflection and mirroring are never materialised: only the first and the last chunk see
them. The int16 scale of Kaldi is a power of two and folded into the window, so it changes no bit of
the result.

tests/features/reference.py is the same chain in plain float64 numpy: the specification.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch

from features import cepstra, fast, frames, mel, windows
from features.options import Spectral

CHUNK = {"cpu": 384}  # frames at a time; other devices like large chunks
# shares of the mel bins; rounded to 16 bins, the width that matrix products like (measured)
BAND_CUTS = (0.4, 0.6, 0.8)


class Pipeline:
    """wave (N,) float32 -> (T, dim) float32, same device. Holds constants: threads may share it."""

    def __init__(self, options: Spectral):
        self.o = options
        self.window = _float(
            windows.window(options.window, options.frame_length, options.periodic) * options.scale
        )
        self.bands = _bands(options) if options.num_mel_bins else None
        rows = (
            cepstra.dct_matrix(options.num_ceps, options.num_mel_bins)
            if options.num_ceps
            else np.zeros((1, 1))
        )
        self.dct = _float((rows * cepstra.lifter(len(rows), options.cepstral_lifter)[:, None]).T)
        self.silence = self._silence() if options.pad_to else None

    def shape(self, n_samples: int) -> tuple[int, int]:
        """Shape of the output; refuses what is longer than the window of `pad_to_s`."""
        return self.o.count(self._padded_length(n_samples)), self.o.dim

    def __call__(self, wave: torch.Tensor, x: torch.Tensor) -> None:
        """Features of `wave` written into `x`, of the shape that `shape` gives."""
        o, n_frames = self.o, len(x)
        n_samples = self._padded_length(len(wave))
        if o.dither and len(wave):
            wave = wave + torch.randn_like(wave) * (o.dither / o.scale)
        busy = self._busy(len(wave), n_frames)
        if busy < n_frames:
            x[busy:] = self.silence.to(x.device)
        if not fast.run(o, wave, n_samples, x[:busy]):
            self._chunks(wave, n_samples, x[:busy])
        self._finish(x)

    def _chunks(self, wave: torch.Tensor, n_samples: int, x: torch.Tensor) -> None:
        """The frames of `x`, chunk by chunk."""
        busy = len(x)
        work = _Buffers(self.o, min(busy, CHUNK.get(wave.device.type, 8192)), wave)
        for start in range(0, busy, work.rows):
            stop = min(start + work.rows, busy)
            self._chunk(self._samples(wave, n_samples, start, stop), work, x[start:stop])

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

    def _samples(self, wave: torch.Tensor, n_samples: int, start: int, stop: int) -> torch.Tensor:
        """Samples of frames [start, stop): a view inside the wave, a copy beyond its edges."""
        first = self.o.first_sample(start)
        end = self.o.first_sample(stop - 1) + self.o.frame_length
        if first >= 0 and end <= len(wave):
            return wave[first:end]
        before = self._beyond(wave, n_samples, first, min(end, 0))
        after = self._beyond(wave, n_samples, max(first, len(wave)), end)
        return torch.cat((before, wave[max(first, 0) : max(end, 0)], after))

    def _beyond(self, wave: torch.Tensor, n_samples: int, first: int, end: int) -> torch.Tensor:
        """Samples [first, end) that lie outside the wave: zeros of `pad_to_s`, then reflections."""
        index = torch.arange(first, max(first, end), device=wave.device)
        index = (frames.reflect if self.o.center else frames.mirror)(index, n_samples)
        padding = index >= len(wave)
        return wave[index.clamp_(max=len(wave) - 1)].masked_fill_(padding, 0.0)

    def _chunk(self, samples: torch.Tensor, work: _Buffers, out: torch.Tensor) -> None:
        o, n = self.o, len(out)
        framed = samples.as_strided((n, o.frame_length), (o.frame_shift, 1))
        plain, ready = work.plain[:n], work.ready[:n]
        if o.remove_dc_offset:
            framed = torch.sub(framed, framed.mean(1, keepdim=True), out=plain)
        energy = _log_energy(framed, o.scale) if o.use_energy and o.raw_energy else None
        window = self.window.to(out.device)
        inside = ready[:, : o.frame_length]
        if o.preemphasis:
            torch.sub(framed[:, 1:], framed[:, :-1], alpha=o.preemphasis, out=inside[:, 1:])
            torch.mul(framed[:, 0], 1.0 - o.preemphasis, out=inside[:, 0])
            inside.mul_(window)
        else:
            torch.mul(framed, window, out=inside)
        if o.use_energy and not o.raw_energy:
            energy = _log_energy(inside, 1.0)
        self._spectrum(torch.fft.rfft(ready), energy, out)

    def _spectrum(
        self, spectrum: torch.Tensor, energy: torch.Tensor | None, out: torch.Tensor
    ) -> None:
        """Spectrum (n, F) complex to the rows of `out`: mel, logarithm, cepstra, energy."""
        o = self.o
        squares = torch.view_as_real(spectrum).flatten(1)
        squares.mul_(squares)
        if self.bands is None or o.power == 1:
            squares = squares.unflatten(1, (-1, 2)).sum(2)
            squares = squares.sqrt_() if o.power == 1 else squares
        first = int(o.use_energy and not o.num_ceps)
        target = out[:, first:] if not o.num_ceps else out.new_empty(len(out), o.num_mel_bins)
        if self.bands is None:
            target.copy_(squares)
        for low, high, begin, end, matrix in self.bands or ():
            torch.mm(squares[:, low:high], matrix.to(out.device), out=target[:, begin:end])
        if o.log != "none":
            target.clamp_(min=o.floor)
            target.log_() if o.log == "ln" else target.log10_()
        if o.num_ceps:
            torch.mm(target, self.dct.to(out.device), out=out)
        if energy is not None:
            out[:, 0] = energy

    def _finish(self, x: torch.Tensor) -> None:
        o = self.o
        if o.top_db and x.numel():
            # over the whole utterance, in the unit of `log`: 10 dB are 1 in log10 and ln 10 in ln
            x.clamp_(
                min=float(x.max()) - o.top_db / 10.0 * (1.0 if o.log == "log10" else math.log(10.0))
            )
        if o.offset or o.divisor != 1.0:
            x.add_(o.offset).div_(o.divisor)

    def _silence(self) -> torch.Tensor:
        """The row (1, dim) that a frame of zeros gives, before `_finish`."""
        row = torch.empty(1, self.o.dim)
        self._chunk(torch.zeros(self.o.frame_length), _Buffers(self.o, 1, row), row)
        return row


class _Buffers:
    """Memory of one chunk: `plain` (rows, frame_length), `ready` (rows, fft_length), tail 0."""

    def __init__(self, o: Spectral, rows: int, like: torch.Tensor):
        self.rows = max(rows, 1)
        self.plain = like.new_empty(self.rows, o.frame_length if o.remove_dc_offset else 0)
        self.ready = like.new_zeros(self.rows, o.fft_length)


def _log_energy(framed: torch.Tensor, scale: float) -> torch.Tensor:
    """ln of the frame's energy in units of `scale`, floored like the spectrum."""
    energy = torch.linalg.vector_norm(framed, dim=1).square_() * scale**2
    return energy.clamp_(min=torch.finfo(torch.float32).eps).log_()


def _bands(o: Spectral) -> list[tuple[int, int, int, int, torch.Tensor]]:
    """Mel bank in pieces that skip its zeros: (column, end column, mel bin, end bin, matrix)."""
    bank = mel.mel_filters(
        o.num_mel_bins, o.fft_length, o.sampling_rate, o.low_freq, o.top_freq,
        o.mel_scale, o.mel_triangles, o.mel_norm,
    )  # fmt: skip
    if o.power == 2:
        bank = np.repeat(bank, 2, axis=1)  # re^2 and im^2 stand side by side
    cuts = {0, o.num_mel_bins, *(16 * round(o.num_mel_bins * part / 16) for part in BAND_CUTS)}
    cuts = sorted(cut for cut in cuts if cut <= o.num_mel_bins)
    bands = []
    for begin, end in pairwise(cuts):
        used = np.flatnonzero(bank[begin:end].any(axis=0))
        low, high = int(used[0]) & ~1, int(used[-1]) + 1
        bands.append((low, high, begin, end, _float(bank[begin:end, low:high].T)))
    return bands


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
