"""Manifests: JSON Lines, one example a line, read by byte offset.

A manifest says which audio, from where to where, and what is said in it:

    {"id": "1089-0", "audio": "a.flac", "start": 0.0, "duration": 10.4, "text": "he hoped",
     "speaker": "1089", "lang": "en", "task": "asr"}

`id` is needed, and at least one of `audio`, `text` and `messages`; `duration` (seconds, above 0) is
needed with `audio`, `start` (seconds) is 0 when absent, all other keys are kept as they are. Paths
are absolute or relative to the folder of the manifest, so that a folder can be moved whole.
`features` ("FOLDER#ID") refers to features that `features extract --manifest` stored: they are
taken instead of the audio, where no augmentation changes the wave.
`messages` is the general form: chat turns whose parts are `{"type": "audio", "audio": "a.flac"}`.

In memory stand 20 bytes a line (offset, duration, hash of the id), never the lines themselves.
Those three arrays are all that `_scan` makes, so that a side file can replace it one day.

N = number of examples.
"""

import difflib
import hashlib
import json
import os
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from speechllm.data.atomic import atomic
from speechllm.data.rows import faults, map_paths, seconds


class Index(NamedTuple):
    """What is kept of each line: offsets (N + 1,) int64, durations (N,) float32, hashes (N,)."""

    offsets: np.ndarray
    durations: np.ndarray
    hashes: np.ndarray


class Manifest(Sequence[dict[str, Any]]):
    """An opened manifest: `len(m)`, `m[i]` -> dict with absolute paths and `start`, `m.durations`.

    Every line is checked once here. Raises ValueError naming file, line and what to do: not JSON,
    missing field, duplicate id, bad start or duration, control characters in the text; and
    FileNotFoundError. May be pickled and forked: each process opens the file for itself.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()
        self._stamp = _stamp(self.path)
        self._index = _scan(self.path)
        self._lines: np.ndarray | None = None  # which lines, in which order; None is all of them
        self._fd: int | None = None

    @property
    def durations(self) -> np.ndarray:
        """Seconds of each example, (N,) float32; 0 where there is no audio."""
        durations = self._index.durations
        return durations if self._lines is None else durations[self._lines]

    @property
    def n_bytes(self) -> np.ndarray:
        """Bytes of each line, (N,) int64: what there is to read, for text without a duration."""
        sizes = np.diff(self._index.offsets)
        return sizes if self._lines is None else sizes[self._lines]

    @property
    def ids(self) -> list[str]:
        """The ids in order; read from the file at each call, as they are not kept in memory."""
        return [row["id"] for row in self]

    def find(self, id: str) -> int:
        """Position of an id. Raises ValueError that names the near ones."""
        hashes = self._index.hashes if self._lines is None else self._index.hashes[self._lines]
        for position in np.flatnonzero(hashes == np.uint64(_hash(id))):
            if self[position]["id"] == id:
                return int(position)
        # A hundred thousand names are enough for a hint, and are read in half a second.
        names = [self[i]["id"] for i in range(min(len(self), 100_000))]
        near = difflib.get_close_matches(id, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"its {len(self)} ids are others"
        raise ValueError(f"{self.path} has no example with the id {id!r}; {hint}")

    def digest(self) -> str:
        """First 12 hexadecimal digits of the file's SHA-256, to stand beside a result."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]

    def subset(self, indices: Iterable[int]) -> "Manifest":
        """A manifest of these positions in this order, on the same file and index."""
        lines = np.arange(len(self._index.durations)) if self._lines is None else self._lines
        other = object.__new__(Manifest)
        chosen = lines[np.fromiter(indices, dtype=np.int64)]
        other.__dict__.update(self.__dict__, _lines=chosen, _fd=None)
        return other

    def __len__(self) -> int:
        return len(self._index.durations if self._lines is None else self._lines)

    def __getitem__(self, i: int) -> dict[str, Any]:
        position = range(len(self))[i]  # raises IndexError, and takes negative ones
        line = position if self._lines is None else int(self._lines[position])
        start, end = self._index.offsets[line : line + 2].tolist()
        row = json.loads(os.pread(self._descriptor(), end - start, start))
        row = map_paths(row, lambda path: os.path.normpath(self.path.parent / path))
        if row.get("audio") is not None:
            row["start"] = float(row.get("start") or 0.0)
        return row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fd": None}

    def __repr__(self) -> str:
        hours = float(self.durations.sum(dtype=np.float64)) / 3600
        return f"Manifest({str(self.path)!r}, {len(self)} examples, {hours:.2f} h)"

    def _descriptor(self) -> int:
        # `pread` has no file position, so that forks and threads may share the descriptor.
        if self._fd is None:
            if _stamp(self.path) != self._stamp:
                raise ValueError(f"{self.path} was changed after it was opened; open it again")
            self._fd = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._fd)
        return self._fd


def write(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as a manifest, atomically; return how many. Rows are taken one at a time.

    Absolute media paths below the manifest's folder become relative. Raises ValueError naming the
    row and its id where `Manifest` would refuse it, and leaves what stood there before.
    """
    path = Path(path)
    folder = os.path.abspath(path.parent) + os.sep
    builder = _Builder()
    with atomic(path) as file:
        for number, row in enumerate(rows, start=1):
            if fault := next(faults(row), None):
                named = f" (id {row['id']!r})" if isinstance(row, dict) and "id" in row else ""
                raise ValueError(f"{path}, row {number}{named}: {'; '.join(fault)}")
            row = map_paths(row, lambda media: str(media).removeprefix(folder))
            line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
            file.write(line)
            builder.add(row, len(line.encode()))
        file.flush()
        _refuse_duplicates(builder.index(), Path(file.name), shown=path)
    return len(builder.hashes)


def parse(line: bytes) -> Any:
    """The value that a line holds. Raises ValueError saying what is wrong with the JSON."""
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        at = f"{error.msg} at column {error.colno}"
        raise ValueError(f"not JSON ({at}); one JSON object a line is wanted") from error


def _scan(path: Path) -> Index:
    builder, blank = _Builder(), 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                blank = blank or number
                continue
            if blank:
                raise ValueError(f"{path}:{blank}: an empty line; remove it")
            try:
                row = parse(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            if fault := next(faults(row), None):
                raise ValueError(f"{path}:{number}: {'; '.join(fault)}")
            builder.add(row, len(line))
    index = builder.index()
    _refuse_duplicates(index, path, shown=path)
    return index


class _Builder:
    """Collects the index in flat arrays, 20 bytes an example."""

    def __init__(self) -> None:
        self.offsets, self.durations, self.hashes = array("q", [0]), array("f"), array("Q")

    def add(self, row: dict[str, Any], n_bytes: int) -> None:
        self.offsets.append(self.offsets[-1] + n_bytes)
        self.durations.append(seconds(row))
        self.hashes.append(_hash(row["id"]))

    def index(self) -> Index:
        arrays = zip((self.offsets, self.durations, self.hashes), "qfQ", strict=True)
        return Index(*(np.array(values, dtype=kind) for values, kind in arrays))


def _refuse_duplicates(index: Index, path: Path, shown: Path) -> None:
    """Compare the ids of lines with equal hashes, first in the file first."""
    order = np.argsort(index.hashes, kind="stable")
    repeated = np.flatnonzero(index.hashes[order][1:] == index.hashes[order][:-1])
    if not len(repeated):
        return
    with open(path, "rb") as file:
        for first, second in sorted(zip(order[repeated], order[repeated + 1], strict=True)):
            ids = []
            for line in (first, second):
                file.seek(index.offsets[line])
                ids.append(json.loads(file.readline())["id"])
            if ids[0] == ids[1]:
                where = (
                    f"{shown}:{second + 1}: the id {ids[0]!r} is that of line {first + 1} already"
                )
                raise ValueError(f"{where}; ids must differ")


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
