"""Columns of numbers in a file, read where they are asked for and not kept.

A mapped file would do as well, but each touch of it brings in 64 KB that count as the process's own
until the kernel wants them back; of a hundred thousand look-ups, all of it.
"""

import os
import weakref
from pathlib import Path

import numpy as np

FEW = 4096  # look-ups; of more, the whole column is read


class Column:
    """`n` numbers of a file from a byte on: `c[3]`, `c[2:5]`, `c[[7, 1]]` -> numpy; `len(c)`.

    A column that is in memory is a numpy array in its place; what is asked of both is the same.
    """

    def __init__(self, file: "File", kind: str, n: int, first: int):
        self.file, self.kind, self.n, self.first = file, np.dtype(kind), n, first
        self.nbytes = n * self.kind.itemsize

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, places):
        if isinstance(places, slice):
            start, stop, step = places.indices(self.n)
            assert step == 1
            return self._read(start, max(stop - start, 0))
        places = np.asarray(places)
        if places.ndim == 0:
            return self._read(range(self.n)[int(places)], 1)[0]
        if len(places) > FEW:
            return self._read(0, self.n)[places]
        return np.array([self[place] for place in places.tolist()], self.kind)

    def _read(self, start: int, n: int) -> np.ndarray:
        size = self.kind.itemsize
        return np.frombuffer(self.file.read(self.first + start * size, n * size), self.kind)


class File:
    """A file opened to be read at any place; forks and threads may share it."""

    def __init__(self, path: Path):
        self.path, self.descriptor = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, start: int, n: int) -> bytes:
        """Read `n` bytes from `start` on. Raises ValueError where the file is too short."""
        parts = []
        while n and (part := os.pread(self.descriptor, n, start)):  # at most 2 GB at once
            parts, start, n = [*parts, part], start + len(part), n - len(part)
        if n:
            raise ValueError(f"{self.path} is cut short; delete it, and it is made anew")
        return b"".join(parts)
