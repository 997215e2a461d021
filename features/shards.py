"""Sounds inside tar files, on this disk or elsewhere.

    "train-000003.tar#512+84211"                     84211 bytes of the file, from byte 512 on
    "s3://bucket/train-000003.tar#512+84211"         any address that fsspec knows, http too

wherever the path of a sound file may stand. Of a file elsewhere all is fetched at once, in one
sequential read, into the folder `FEATURES_SHARDS` (else one among the temporary files), which all
processes of a machine share; those used longest ago go when it holds more than
`FEATURES_SHARDS_GB` (50).
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import io
import os
import re
import tempfile
import weakref
from pathlib import Path

from features import remote

REFERENCE = re.compile(r"(.+\.tar)#(\d+)\+(\d+)$")
HEADER = 512  # bytes before the contents of each file in a tar, which say its size and end in ...
MAGIC = slice(257, 262)  # ... "ustar", up to here
SIZE = slice(124, 135)  # in octal digits
OPEN_FILES = 64


class Bytes(io.BytesIO):
    """A file in memory, its bytes, and a name for messages."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.data, self.name = data, name


def fetched(path):
    """Give what a reference means, as a binary file object; any other path as it is.

    Raises:
        ValueError: the tar file is not there, or holds no such file at that place.
    """
    match = REFERENCE.match(path) if isinstance(path, str) and ".tar#" in path else None
    if not match:
        return path
    try:
        return Bytes(read(match[1], int(match[2]), int(match[3])), path)
    except ValueError:
        if os.path.exists(path):  # a file of such a name
            return path
        raise


def read(file: str, start: int, size: int) -> bytes:
    """Read a file inside a tar file: its bytes.

    Raises:
        ValueError: the tar file is not there, or holds no such file at that place.
    """
    data = _read(file, start, size)
    if data is None and "://" in file and _stale(file):
        data = _read(file, start, size)
    if data is None:
        raise ValueError(
            f"{file}: no file of {size} bytes at byte {start}: the shard is damaged, cut off or "
            "another one; fetch it again"
        )
    return data


def _read(file: str, start: int, size: int) -> bytes | None:
    """Read a file inside a tar file; None where no such one is at that place."""
    shard = _copy(file) if "://" in file else _here(file)
    head = shard.read(HEADER, start - HEADER) if start >= HEADER else b""
    if head[MAGIC] != b"ustar" or head[SIZE].strip(b"\0 ") != b"%011o" % size:
        return None
    data = shard.read(size, start)  # apart from its head: cutting that off would copy it
    return data if len(data) == size else None


def _here(path: str) -> _Shard:
    try:
        return _opened(path, os.stat(path).st_mtime_ns)
    except OSError as error:
        raise ValueError(f"{path}: no such shard ({error.strerror}); check the path") from None


class _Shard:
    """A tar file that is open as long as somebody may want it."""

    def __init__(self, path: str):
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, n: int, start: int) -> bytes:
        """Read n bytes from a place, without a place that threads and forks would share."""
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, n, start)
        with open(self.path, "rb") as file:  # Windows has no such call
            file.seek(start)
            return file.read(n)


@functools.lru_cache(OPEN_FILES)
def _opened(path: str, which: int) -> _Shard:
    return _Shard(path)


def _copy(url: str) -> _Shard:
    """Open the copy of a remote file on this disk, fetched when first asked for.

    Raises:
        ValueError: it cannot be fetched, or not be kept.
    """
    place = _place(url)
    try:
        while True:
            try:
                os.utime(place)  # who was used longest ago goes first
                return _opened(str(place), place.stat().st_ino)
            except FileNotFoundError:  # not yet there, or another process has made room
                _fetch(url, place)
    except OSError as error:
        raise ValueError(f"{url}: cannot be kept in {place.parent}: {error}") from None


def _place(url: str) -> Path:
    """Name the copy of a remote file on this disk."""
    try:
        folder = Path(os.environ["FEATURES_SHARDS"])
    except KeyError:
        folder = Path(tempfile.gettempdir()) / f"features-shards-{getpass.getuser()}"
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()[:24]}.tar"


def _stale(url: str) -> bool:
    """Remove the copy of a remote file that has another size now; say whether it had."""
    place = _place(url)
    there, here = remote.size(url), place.stat().st_size if place.exists() else None
    if there is None or there == here:
        return False
    place.unlink(missing_ok=True)
    return True


def _fetch(url: str, place: Path) -> None:
    """Copy a remote file, once for all processes of this machine."""
    from filelock import FileLock

    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            remote.fetch(url, place)
    _make_room(place)


def _make_room(newest: Path) -> None:
    """Remove the shards used longest ago, where there are too many bytes of them."""
    most = float(os.environ.get("FEATURES_SHARDS_GB", "50")) * 1e9
    there = sorted(
        ((one.stat(), one) for one in newest.parent.glob("*.tar")), key=lambda x: -x[0].st_mtime
    )
    for status, one in there:
        most -= status.st_size
        if most < 0 and one != newest:
            one.unlink(missing_ok=True)
