"""What libsndfile is given in place of a file: parts of it and bytes of ours, one after another.

    Splice(file, [header, (42, 81234)])    # a new header, then bytes 42 to 81234 of the file

So a header is mended, a container's pages are taken off, one of several joined files is read alone:
without copying a file, and libsndfile seeks in it as in any other.
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from itertools import accumulate

Piece = bytes | tuple[int, int]  # bytes of ours, or [first, end) of the file


class Splice(io.RawIOBase):
    """A readable, seekable file made of pieces of an opened one, which several may share."""

    def __init__(self, file, pieces: tuple[Piece, ...]):
        self._file, self._pieces = file, pieces
        sizes = (len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces)
        self._ends = list(accumulate(sizes))
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; before the start is the start."""
        length = self._ends[-1] if self._ends else 0
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: length}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer) -> int:
        """Fill a buffer as far as there are bytes."""
        out, done = memoryview(buffer).cast("B"), 0
        while done < len(out):
            i = bisect_right(self._ends, self._at)
            if i == len(self._ends):
                break
            want = min(len(out) - done, self._ends[i] - self._at)
            got = self._piece(self._pieces[i], self._ends[i] - self._at, want)
            if not got:
                break
            out[done : done + len(got)] = got
            done, self._at = done + len(got), self._at + len(got)
        return done

    def _piece(self, piece: Piece, left: int, want: int) -> bytes:
        """`want` bytes of a piece of which `left` are left."""
        if isinstance(piece, bytes):
            return piece[len(piece) - left :][:want]
        self._file.seek(piece[1] - left)
        return self._file.read(want)
