"""Features of a wave that comes in chunks: the same frames as offline, each as soon as it can be.

    stream = fe.stream()
    for chunk in source:
        x = stream(chunk)         # (t, dim): the rows that these samples complete, often none
    tail = stream.flush()         # what needed to know where the wave ends

Which samples make which frame is asked of the same integer functions as offline, and the same code
computes them. Only the samples that later frames can still read are kept, so memory does not grow.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

from features import fast
from features.options import Wave
from features.samples import Samples


def exact(device_type: str):
    """A context without autocast; none, which costs nothing, where it is off already."""
    on = torch.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if on else nullcontext()


class Stream:
    """One wave in chunks; made by `Extractor.stream()`. Not to be shared by threads."""

    def __init__(self, options, pipeline, checked):
        self.o, self._pipeline, self._checked = options, pipeline, checked
        self._raw = isinstance(options, Wave)
        self._wave: torch.Tensor | None = None  # the samples from `_offset` on
        self._offset = self._n_samples = self._done = 0
        self._over = False

    def __call__(self, chunk) -> torch.Tensor:
        """Rows (t, dim) that `chunk` (N,) of any length completes; (N,) for raw waves.

        Raises ValueError for what the extractor refuses, and after `flush`.
        """
        if self._over:
            raise ValueError("this stream was flushed; fe.stream() makes a fresh one")
        chunk = self._checked(chunk)
        self._n_samples += len(chunk)
        if self._raw:
            return chunk
        self._append(chunk)
        return self._rows(self._complete())

    def flush(self) -> torch.Tensor:
        """The last rows (t, dim), which see beyond the end; the stream is over then."""
        if self._over:
            raise ValueError("this stream was flushed already; fe.stream() makes a fresh one")
        self._over = True
        if self._wave is None:
            empty = torch.empty(0, self.o.dim, dtype=getattr(torch, self.o.dtype))
            return empty[:, 0] if self._raw else empty
        return self._rows(self.o.count(self._n_samples) * self.o.stack)

    @torch.no_grad()
    def _append(self, chunk: torch.Tensor) -> None:
        chunk = self._pipeline.dithered(chunk)
        if self._wave is None:
            self._wave, self._last = chunk[:0], chunk[:0]
        if self.o.global_preemphasis:
            whole = torch.cat((self._last, chunk))
            self._last = whole[-1:]
            before = len(whole) - len(chunk)
            chunk = self._pipeline.emphasised(whole)[before:]
        self._wave = torch.cat((self._wave, chunk))

    def _complete(self) -> int:
        """Frames that will be what they are, whatever comes; a multiple of `stack`."""
        o, n = self.o, self._n_samples
        ready = (n - o.frame_length - o.first_sample(0)) // o.frame_shift + 1
        if n <= -o.first_sample(0):  # a reflection at the start may still bounce off the end
            ready = 0
        return max(0, min(ready, o.num_frames(n))) // o.stack * o.stack

    @torch.no_grad()
    def _rows(self, stop: int) -> torch.Tensor:
        """Rows of the frames [done, stop); forgets the samples that no later frame reads."""
        x = self._wave.new_empty((stop - self._done) // self.o.stack, self.o.dim)
        source = Samples(self._wave, self._n_samples, self.o.edges, self._offset)
        with exact(x.device.type):
            rows = self._pipeline.room(x, stop - self._done)
            if not (len(rows) and self._kernel(source, stop, rows)):
                self._pipeline.fill(source, self._done, rows)
            self._pipeline.finish(rows, x)
        self._done = stop
        # edges are mirrored over at most half a frame: one frame more than the next one needs
        keep = self.o.first_sample(stop) - self.o.frame_length
        drop = min(max(0, keep - self._offset), len(self._wave))
        self._wave, self._offset = self._wave[drop:], self._offset + drop
        return x

    def _kernel(self, source: Samples, stop: int, rows: torch.Tensor) -> bool:
        """Let the kernel write the frames [done, stop), if it can."""
        end = self.o.first_sample(stop - 1) + self.o.frame_length
        framed = source.read(self.o.first_sample(self._done), end)
        return fast.run(self.o, framed, len(framed), rows, first=0)
