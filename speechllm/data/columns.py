"""Columns of numbers in a file, read where they are asked for and not kept; each read is checked.

A mapped file would do as well, but each touch of it brings in 64 KB that count as the process's own
until the kernel wants them back; of a hundred thousand look-ups, all of it.

    mark, CRC-32 of the rest of the line, {"facts", "columns": {name: [kind, n]}, "sums"}, newline
    the columns, each at a multiple of ALIGN bytes, filled up to whole blocks
    a CRC-32 of each block, in its turn held against "sums"

So opening reads 4 bytes of each 4096, and a damaged number is never believed.
"""

import json
import os
import threading
import weakref
import zlib
from array import array
from pathlib import Path
from typing import IO, Any

import numpy as np

from speechllm import files

FEW = 4096  # look-ups; of more, the whole column is read
BLOCK = 4096  # bytes under one checksum: a look-up reads so many
ALIGN = 64
PIECE = 1 << 20  # bytes held in memory at a time
LONGEST = 1 << 24  # bytes of the first line, far more than it ever has


_seeking = threading.Lock()  # where two threads share a descriptor that has a place of its own


def open_bytes(path: Path) -> int:
    """Open a file for `read_at`; returns its descriptor."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def read_at(descriptor: int, n: int, start: int) -> bytes:
    """Read n bytes from a place of a file, without a place that threads and forks would share.

    Windows has no such call: there one thread reads at a time, and no process is forked.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, n, start)
    with _seeking:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, n)


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
    """A file opened to be read at any place; forks and threads may share it.

    first: where its blocks begin. n_blocks: how many there are; their checksums stand behind them.
    """

    def __init__(self, path: Path, first: int, n_blocks: int):
        self.path, self.first, self.n_blocks = path, first, n_blocks
        self.descriptor = open_bytes(path)
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, start: int, n: int) -> bytes:
        """Read `n` bytes from `start` on. Raises ValueError where the file is cut or damaged."""
        if not n:
            return b""
        begin, end = (start - self.first) // BLOCK, -(-(start + n - self.first) // BLOCK)
        parts = []
        for block in range(begin, end, PIECE // BLOCK):
            parts.append(self._blocks(block, min(block + PIECE // BLOCK, end)))
        skipped = start - self.first - begin * BLOCK
        return b"".join(parts)[skipped : skipped + n]

    def sums(self) -> int:
        """Compute the checksum of the checksums, a piece at a time."""
        at, end, total = self._sums_at(0), self._sums_at(self.n_blocks), 0
        for start in range(at, end, PIECE):
            total = zlib.crc32(self._bytes(start, min(PIECE, end - start)), total)
        return total

    def _blocks(self, begin: int, end: int) -> bytes:
        data = self._bytes(self.first + begin * BLOCK, (end - begin) * BLOCK)
        sums = np.frombuffer(self._bytes(self._sums_at(begin), 4 * (end - begin)), "<u4")
        for number, wanted in enumerate(sums.tolist()):
            if zlib.crc32(data[number * BLOCK : (number + 1) * BLOCK]) != wanted:
                raise ValueError(f"{self.path} is damaged; delete it, and it is made anew")
        return data

    def _sums_at(self, block: int) -> int:
        return self.first + self.n_blocks * BLOCK + 4 * block

    def _bytes(self, start: int, n: int) -> bytes:
        data = read_at(self.descriptor, n, start)
        if len(data) < n:
            raise ValueError(f"{self.path} is cut short; delete it, and it is made anew")
        return data


def save(path: Path, mark: bytes, facts: dict[str, Any], columns: dict[str, np.ndarray]) -> None:
    """Write columns and what is known of them, whole or not at all. Raises OSError."""
    sums = _sums(columns)
    head = {
        "facts": facts,
        "columns": {name: [one.dtype.str, len(one)] for name, one in columns.items()},
        "sums": zlib.crc32(sums),
    }
    line = json.dumps(head).encode()
    line = mark + b"%08x " % zlib.crc32(line) + line + b"\n"
    with files.writing(path, binary=True) as file:
        file.write(line + bytes(-len(line) % ALIGN))
        _put(file, columns)
        file.write(sums)


def load(path: Path, mark: bytes) -> tuple[dict[str, Any], dict[str, Column]]:
    """Open what `save` wrote: facts and columns.

    Raises:
        OSError: there is no such file.
        ValueError: it is none of this kind, is cut or damaged; in one line.
    """
    with open(path, "rb") as file:
        line = file.readline(LONGEST)
    sum_, head = line[len(mark) : len(mark) + 8], line[len(mark) + 9 : -1]
    if not line.startswith(mark) or sum_ != b"%08x" % zlib.crc32(head):
        raise ValueError(f"{path} is damaged, or of another version; delete it")
    # The checksum is right: what it says is what `save` said.
    facts = json.loads(head)
    first = len(line) + -len(line) % ALIGN
    sizes = [np.dtype(kind).itemsize * n for kind, n in facts["columns"].values()]
    total = sum(_aligned(size) for size in sizes)
    opened, columns, start = File(path, first, -(-total // BLOCK)), {}, first
    for (name, (kind, n)), size in zip(facts["columns"].items(), sizes, strict=True):
        columns[name] = Column(opened, kind, n, start)
        start += _aligned(size)
    if opened.sums() != facts["sums"]:
        raise ValueError(f"{path} is damaged; delete it, and it is made anew")
    return facts["facts"], columns


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _pieces(columns: dict[str, np.ndarray]):
    """The bytes of all columns, in pieces of whole blocks, filled up at the end."""
    rest = b""
    for column in columns.values():
        data = memoryview(np.ascontiguousarray(column)).cast("B")
        for start in range(0, len(data), PIECE):
            rest += data[start : start + PIECE]
            whole = len(rest) // BLOCK * BLOCK
            yield rest[:whole]
            rest = rest[whole:]
        rest += bytes(_aligned(len(data)) - len(data))
    yield rest + bytes(-len(rest) % BLOCK)


def _sums(columns: dict[str, np.ndarray]) -> bytes:
    sums = array("I")
    for piece in _pieces(columns):
        sums.extend(zlib.crc32(piece[at : at + BLOCK]) for at in range(0, len(piece), BLOCK))
    return np.asarray(sums, "<u4").tobytes()


def _put(file: IO, columns: dict[str, np.ndarray]) -> None:
    for piece in _pieces(columns):
        file.write(piece)
