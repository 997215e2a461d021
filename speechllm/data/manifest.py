"""Manifests: JSON Lines, one example a line, read by byte offset.

A manifest says which audio, from where to where, and what is said in it:

    {"id": "1089-0", "audio": "a.flac", "start": 0.0, "duration": 10.4, "text": "he hoped",
     "speaker": "1089", "lang": "en", "task": "asr"}

`id` is needed, and at least one of `audio`, `text` and `messages`; `duration` (seconds, above 0) is
needed with `audio`, `start` (seconds) is 0 when absent, `channel` (from 0) chooses one of several,
whose mean is heard without it; all other keys are kept as they are. Paths are absolute or relative
to the folder of the manifest, so that a folder can be moved whole.
`features` ("FOLDER#ID") refers to features that `features extract --manifest` stored: they are
taken instead of the audio, where no augmentation changes the wave.
`messages` is the general form: chat turns whose parts are `{"type": "audio", "audio": "a.flac"}`.

In memory stand 20 bytes a line (offset, duration, hash of the id), never the lines themselves; of a
long manifest not even those, as they are read from a side file (`index.py`).

N = number of examples.
"""

import bisect
import difflib
import json
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechllm import files
from speechllm.data.columns import open_bytes, read_at
from speechllm.data.faults import faults
from speechllm.data.index import Builder, hash_of, open_index, refuse_duplicates, stamp
from speechllm.data.rows import map_paths

__all__ = ["Manifest", "write"]


class Manifest(Sequence[dict[str, Any]]):
    """An opened manifest: `len(m)`, `m[i]` -> dict with absolute paths and `start`, `m.durations`.

    Every line is checked once here. Raises ValueError naming file, line and what to do: not JSON,
    missing field, duplicate id, bad start or duration, control characters in the text; and
    FileNotFoundError. May be pickled and forked: each process opens the file for itself.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).absolute()
        self._index = open_index(self.path)
        # Which lines, in which order: None is all, a range those of the index, longest first.
        self._chosen: np.ndarray | range | None = None
        self._fd: int | None = None

    @property
    def durations(self) -> np.ndarray:
        """Seconds of each example, (N,) float32; 0 where there is no audio."""
        return self._index.durations[slice(None) if self._chosen is None else self._lines(None)]

    @property
    def lengths_s(self) -> np.ndarray:
        """Seconds of each example, (N,) float64; of text alone, the time it would take to say."""
        return self.length_s(None)

    def length_s(self, positions) -> np.ndarray:
        """`lengths_s` of these positions alone."""
        everything = positions is None and self._chosen is None
        return self._index.lengths_s(None if everything else self._lines(positions))

    def line(self, position: int) -> int:
        """Number of the file's line in which an example stands, 1 is the first."""
        return int(self._lines(position)) + 1

    def kinds(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, row) of the first line of each kind (`rows.kind`), of the whole file."""
        whole = self._view(None)
        return ((line + 1, whole[line]) for line in self._index.firsts)

    @property
    def is_large(self) -> bool:
        """Whether the index is on the disk, with an order by length, and nothing else is."""
        return self._chosen is None and len(self._index.order) > 0

    @property
    def is_sorted(self) -> bool:
        """Whether this is a part that `between` took, longest first."""
        return isinstance(self._chosen, range)

    @property
    def ids(self) -> list[str]:
        """The ids in order; read from the file at each call, as they are not kept in memory."""
        return [row["id"] for row in self]

    def find(self, id: str) -> int:
        """Position of an id. Raises ValueError that names the near ones."""
        for position in np.flatnonzero(self._hashes() == np.uint64(hash_of(id))):
            if self[position]["id"] == id:
                return int(position)
        # A hundred thousand names are enough for a hint, and are read in half a second.
        names = [self[i]["id"] for i in range(min(len(self), 100_000))]
        near = difflib.get_close_matches(id, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"its {len(self)} ids are others"
        raise ValueError(f"{self.path} has no example with the id {id!r}; {hint}")

    def shared(self, other: "Manifest") -> Iterator[str]:
        """Yield the ids that stand in another manifest too; the hashes are compared first."""
        ours, theirs = (one._hashes() for one in (self, other))
        there = {row["id"] for row in map(other.__getitem__, np.flatnonzero(np.isin(theirs, ours)))}
        for position in np.flatnonzero(np.isin(ours, theirs)):
            if (id := self[position]["id"]) in there:
                yield id

    def _hashes(self) -> np.ndarray:
        hashes = self._index.hashes[:]
        return hashes if self._chosen is None else hashes[self._lines(None)]

    def digest(self) -> str:
        """Say which file this is, to stand beside a result."""
        return files.digest(self.path)

    def subset(self, indices: Iterable[int]) -> "Manifest":
        """A manifest of these positions in this order, on the same file and index."""
        return self._view(self._lines(np.fromiter(indices, dtype=np.int64)))

    def between(self, shortest_s: float, longest_s: float) -> "Manifest":
        """The examples of these lengths, longest first; only where `is_large`. Nothing is read."""
        order, first, end = self._index.order, 0, len(self)
        key = {"key": lambda line: -self._index.lengths_s([line])[0]}
        longest, shortest = self._index.lengths_s(order[[0, -1]])
        if longest > longest_s:
            first = bisect.bisect_left(order, -longest_s, **key)
        if shortest < shortest_s:
            end = bisect.bisect_right(order, -shortest_s, **key)
        return self._view(range(first, end))

    def _view(self, chosen: np.ndarray | range | None) -> "Manifest":
        other = object.__new__(Manifest)
        other.__dict__.update(self.__dict__, _chosen=chosen, _fd=None)
        return other

    def _lines(self, positions):
        """Lines of these positions (None: all), from 0."""
        chosen = self._chosen
        if isinstance(chosen, range):
            order = self._index.order
            if positions is None:
                return order[chosen.start : chosen.stop].astype(np.int64)
            return np.asarray(order[chosen.start + np.asarray(positions)], np.int64)
        if positions is None:
            return np.arange(len(self._index)) if chosen is None else chosen
        return np.asarray(positions) if chosen is None else chosen[positions]

    def __len__(self) -> int:
        return len(self._index if self._chosen is None else self._chosen)

    def __getitem__(self, i: int) -> dict[str, Any]:
        position = range(len(self))[i]  # raises IndexError, and takes negative ones
        line = int(self._lines(position))
        start, end = self._index.offsets[line : line + 2].tolist()
        row = files.parse(
            read_at(self._descriptor(), end - start, start), f"{self.path}:{line + 1}"
        )
        # What is null is not there, and so for all that reads a row.
        row = {key: value for key, value in row.items() if value is not None}
        row = map_paths(row, self._whole)
        if "audio" in row:
            row["start"] = float(row.get("start") or 0.0)
        return row

    def _whole(self, path: str) -> str:
        """Path from the root of a path in a row; an address stays as it is."""
        home = os.path.dirname(self.path)
        return path if "://" in path else os.path.normpath(os.path.join(home, path))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fd": None}

    def __repr__(self) -> str:
        hours = float(self.durations.sum(dtype=np.float64)) / 3600
        return f"Manifest({str(self.path)!r}, {len(self)} examples, {hours:.2f} h)"

    def _descriptor(self) -> int:
        # `pread` has no file position, so that forks and threads may share the descriptor.
        if self._fd is None:
            if stamp(self.path) != self._index.stamp:
                raise ValueError(f"{self.path} was changed after it was opened; open it again")
            self._fd = open_bytes(self.path)
            weakref.finalize(self, os.close, self._fd)
        return self._fd


def write(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as a manifest, atomically; return how many. Rows are taken one at a time.

    Absolute media paths below the manifest's folder become relative. Raises ValueError naming the
    row and its id where `Manifest` would refuse it, and leaves what stood there before.
    """
    path = Path(path)
    folder = os.path.abspath(path.parent) + os.sep
    builder = Builder(home=folder)
    with files.writing(path) as file:
        for number, row in enumerate(rows, start=1):
            if fault := next(faults(row), None):
                named = f" (id {row['id']!r})" if isinstance(row, dict) and "id" in row else ""
                raise ValueError(f"{path}, row {number}{named}: {'; '.join(fault)}")
            row = map_paths(row, lambda media: str(media).removeprefix(folder))
            try:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
            except (TypeError, ValueError, RecursionError) as error:
                named = f"{path}, row {number} (id {row['id']!r})"
                raise ValueError(f"{named}: cannot be written as JSON: {error}") from None
            file.write(line)
            builder.add(row, len(line.encode()))
        file.flush()
        refuse_duplicates(builder.index(), Path(file.name), shown=path)
    return len(builder.hashes)
