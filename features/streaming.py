"""Features of a wave that comes in chunks: the same frames as offline, each as soon as it can be.

    stream = fe.stream()
    for chunk in source:
        x = stream(chunk)         # (t, dim): the rows that these samples complete, often none
    tail = stream.flush()         # what needed to know where the wave ends

`fe.stream(sampling_rate=48000)` takes chunks at another rate; the resampler keeps its state between
them. Which samples make which frame is asked of the same integer functions as offline, and the same
code computes them. Only the samples that later frames can still read are kept, so memory does not
grow.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property

import numpy as np
import torch

from features import fast
from features.options import Wave
from features.resampling import Resampler
from features.samples import Samples


def exact(device_type: str):
    """A context without autocast; none, which costs nothing, where it is off already."""
    on = torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if on else nullcontext()


class Stream:
    """One wave in chunks; made by `Extractor.stream()`. Not to be shared by threads."""

    def __init__(self, options, pipeline, checked, resampler: Resampler | None = None):
        self.o, self._pipeline, self._checked = options, pipeline, checked
        self._resampler = resampler
        self._raw = isinstance(options, Wave)
        self._wave: torch.Tensor | None = (
            None  # room; [low, high) are the samples from `_offset` on
        )
        self._low = self._high = self._offset = self._n_samples = self._done = 0
        self._over = False

    def __call__(self, chunk) -> torch.Tensor:
        """Rows (t, dim) that `chunk` (N,) of any length completes; (N,) for raw waves.

        Raises ValueError for what the extractor refuses, and after `flush`.
        """
        if self._over:
            raise ValueError("this stream was flushed; fe.stream() makes a fresh one")
        chunk = self._checked(chunk)
        if self._resampler:
            chunk = self._resampled(self._resampler(chunk.numpy()[None]))
        return self._take(chunk)

    def flush(self) -> torch.Tensor:
        """The last rows (t, dim), which see beyond the end; the stream is over then."""
        if self._over:
            raise ValueError("this stream was flushed already; fe.stream() makes a fresh one")
        self._over = True
        parts = []
        if self._resampler:
            parts.append(self._take(self._resampled(self._resampler.flush())))
        if self._wave is not None:
            parts.append(self._rows(self.o.count(self._n_samples) * self.o.stack))
        if not parts:
            empty = torch.empty(0, self.o.dim, dtype=getattr(torch, self.o.dtype))
            return empty[:, 0] if self._raw else empty
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _resampled(self, wave: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(wave[0]).to(getattr(torch, self.o.dtype))

    def _take(self, chunk: torch.Tensor) -> torch.Tensor:
        """Rows that a chunk at the extractor's own rate completes."""
        self._n_samples += len(chunk)
        if self._raw:
            return chunk
        self._append(chunk)
        return self._rows(self._complete())

    def _append(self, chunk: torch.Tensor) -> None:
        chunk = self._pipeline.dithered(chunk)
        if self._wave is None:
            self._wave, self._last = chunk[:0], chunk[:0]
        if self.o.global_preemphasis:
            whole = torch.cat((self._last, chunk))
            self._last = whole[-1:]
            before = len(whole) - len(chunk)
            chunk = self._pipeline.emphasised(whole)[before:]
        if self._high + len(chunk) > len(self._wave):
            self._make_room(len(chunk))
        end = self._high + len(chunk)
        self._wave[self._high : end] = chunk
        self._high = end

    def _make_room(self, n: int) -> None:
        """Move what is kept to the start of a room for it and several chunks of `n` samples."""
        kept = self._wave[self._low : self._high]
        self._wave = torch.cat((kept, kept.new_empty(4 * n)))
        self._low, self._high = 0, len(kept)

    def _complete(self) -> int:
        """Frames that will be what they are, whatever comes; a multiple of `stack`."""
        o, n = self.o, self._n_samples
        before = -o.first_sample(0)
        if n <= before:  # a reflection at the start may still bounce off the end
            return 0
        ready = (n - o.frame_length + before) // o.frame_shift + 1
        return max(self._done, min(ready, o.num_frames(n)) // o.stack * o.stack)

    def _rows(self, stop: int) -> torch.Tensor:
        """Rows of the frames [done, stop); forgets the samples that no later frame reads."""
        n_rows = (stop - self._done) // self.o.stack
        x = self._wave.new_empty(n_rows, self.o.dim)
        if n_rows and not self._quick(x, stop):
            self._slow(x, stop)
        self._done = stop
        # edges are mirrored over at most half a frame: one frame more than the next one needs
        keep = self.o.first_sample(stop) - self.o.frame_length
        drop = min(max(0, keep - self._offset), self._high - self._low)
        self._low, self._offset = self._low + drop, self._offset + drop
        return x

    def _quick(self, x: torch.Tensor, stop: int) -> bool:
        """Let the kernel write the rows of the frames [done, stop), if it can."""
        if self._kernel is None or x.device.type != "cpu":
            return False
        begin = self.o.first_sample(self._done)
        end = self.o.first_sample(stop - 1) + self.o.frame_length
        skipped = begin - self._offset
        if skipped >= 0 and end - self._offset <= self._high - self._low:
            wave = self._wave.data_ptr() + 4 * (self._low + skipped)
        else:  # mirrored
            framed = self._source().read(begin, end).contiguous()
            wave = framed.data_ptr()
        rows = stop - self._done
        return self._kernel.into(wave, end - begin, end - begin, rows, x.data_ptr(), rows)

    @cached_property
    def _kernel(self) -> fast.Direct | None:
        """The kernel for frames of which the first begins where the samples do."""
        return fast.direct(self.o, None, first=0)

    def _slow(self, x: torch.Tensor, stop: int) -> None:
        with exact(x.device.type):
            rows = self._pipeline.room(x, stop - self._done)
            end = self.o.first_sample(stop - 1) + self.o.frame_length
            framed = self._source().read(self.o.first_sample(self._done), end)
            if not fast.run(self.o, framed, len(framed), rows, first=0):
                self._pipeline.fill(self._source(), self._done, rows)
            self._pipeline.finish(rows, x)

    def _source(self) -> Samples:
        wave = self._wave[self._low : self._high]
        return Samples(wave, self._n_samples, self.o.edges, self._offset)
