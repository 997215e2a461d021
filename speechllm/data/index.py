"""The index of a manifest: what is known of each line without reading it.

A manifest is scanned once, line by line, and every line is checked on the way. Of `LARGE` lines and
more, what was found is kept in a side file, `.NAME.index`, of which only what is asked for is read:
the next opening takes the same time and memory for any number of lines. A side file that is damaged
(it carries checksums), or does not fit the manifest's size and time of change, is built anew.

N = number of examples.
"""

import hashlib
import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from speechllm import files, places
from speechllm.data import columns
from speechllm.data.columns import Column
from speechllm.data.faults import faults
from speechllm.data.rows import kind, seconds

_log = logging.getLogger(__name__)
LARGE = 500_000  # lines from which on a side file is kept, and batches are drawn without sorting
CHARS_PER_S = 15.0  # speech has about 15 characters a second: text is batched as if it were spoken
FORMAT = b"speechllm index 3 "
DTYPES = {"offsets": "<i8", "durations": "<f4", "hashes": "<u8", "order": "<u4"}


@dataclass(frozen=True)
class Index:
    """What is kept of each line.

    Attributes:
        offsets: (N + 1,) int64 bytes from the start of the file.
        durations: (N,) float32 seconds, 0 where there is no audio.
        hashes: (N,) uint64 of the ids.
        order: (N,) uint32 lines, longest first (`lengths_s`); (0,) below `LARGE` lines.
        firsts: the first line of each kind of row (`rows.kind`).
        stamp: size and time of change of the manifest that was scanned.
        side: the file that holds the columns, None where they are in memory.
    """

    offsets: np.ndarray | Column
    durations: np.ndarray | Column
    hashes: np.ndarray | Column
    order: np.ndarray | Column
    firsts: tuple[int, ...]
    stamp: tuple[int, int]
    side: Path | None = None

    def __len__(self) -> int:
        return len(self.durations)

    def lengths_s(self, lines=None) -> np.ndarray:
        """Seconds of these lines (None: all), float64; of text alone, as if it were said."""
        if lines is None:
            durations, spoken = self.durations[:], np.diff(self.offsets[:]) / CHARS_PER_S
        else:
            lines = np.asarray(lines)
            durations = self.durations[lines]
            spoken = (self.offsets[lines + 1] - self.offsets[lines]) / CHARS_PER_S
        return np.where(durations > 0, durations, spoken)

    def __reduce__(self):
        if self.side is not None:
            return load, (self.side, self.stamp)
        return Index, tuple(vars(self).values())


def open_index(path: Path) -> Index:
    """Open the side file of a manifest, or scan the manifest (and make the side file, if long).

    Raises:
        FileNotFoundError: there is none; names the near ones.
        ValueError: a line that is wrong, with file, line and what to do; two equal ids.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such manifest; {places.near(path)}")
    now, side = stamp(path), side_of(path)
    try:
        return load(side, now)
    except (OSError, ValueError):
        index = _scan(path, now)
    if len(index) < LARGE:
        return index
    try:
        _save(index, side)
    except OSError as error:
        _log.warning("%s: the index cannot be kept (%s); each opening scans again", path, error)
        return index
    return load(side, now)


def side_of(path: Path) -> Path:
    """The file that keeps a manifest's index."""
    return path.with_name(f".{path.name}.index")


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes, and time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def load(side: Path, wanted: tuple[int, int]) -> Index:
    """Open an index. Raises OSError if there is none, ValueError if it is not of this stamp."""
    facts, arrays = columns.load(side, FORMAT)
    if tuple(facts["stamp"]) != tuple(wanted):
        raise ValueError(f"{side} is the index of another state of its manifest")
    return Index(**arrays, firsts=tuple(facts["firsts"]), stamp=tuple(wanted), side=side)


def _save(index: Index, side: Path) -> None:
    facts = {"stamp": index.stamp, "firsts": index.firsts}
    numbers = {name: getattr(index, name).astype(kind, copy=False) for name, kind in DTYPES.items()}
    columns.save(side, FORMAT, facts, numbers)


def _scan(path: Path, now: tuple[int, int]) -> Index:
    builder = Builder(home=str(path.parent))
    for number, line in _lines(path, now[0]):
        row = files.parse(line, f"{path}:{number}")
        if fault := next(faults(row), None):
            raise ValueError(f"{path}:{number}: {'; '.join(fault)}")
        builder.add(row, len(line))
    index = builder.index(now)
    refuse_duplicates(index, path, shown=path)
    return index


def _lines(path: Path, size: int) -> Iterator[tuple[int, bytes]]:
    """(number, line) of each line; empty ones are taken at the end of the file alone."""
    blank = 0
    shown = {"desc": f"indexing {path.name}", "unit": "B", "unit_scale": True, "delay": 2}
    with open(path, "rb") as file, tqdm(total=size, disable=None, **shown) as bar:
        for number, line in enumerate(file, start=1):
            if number % 10_000 == 0:
                bar.update(file.tell() - bar.n)
            if line.strip():
                if blank:
                    raise ValueError(f"{path}:{blank}: an empty line; remove it")
                yield number, line
            else:
                blank = blank or number


@dataclass
class Builder:
    """Collects the index in flat arrays, 20 bytes an example."""

    offsets: array = field(default_factory=lambda: array("q", [0]))
    durations: array = field(default_factory=lambda: array("f"))
    hashes: array = field(default_factory=lambda: array("Q"))
    kinds: dict[tuple, int] = field(default_factory=dict)
    home: str = ""  # at which the rows' relative paths start

    def add(self, row: dict[str, Any], n_bytes: int) -> None:
        """Take the next row, and the size of its line."""
        self.kinds.setdefault(kind(row), len(self.hashes))
        self.offsets.append(self.offsets[-1] + n_bytes)
        self.durations.append(seconds(row, self.home))
        self.hashes.append(hash_of(row["id"]))

    def index(self, now: tuple[int, int] = (0, 0)) -> Index:
        """Make the index; the arrays are shared, not copied."""
        flat = zip((self.offsets, self.durations, self.hashes), "qfQ", strict=True)
        arrays = [np.frombuffer(values, code) for values, code in flat]
        index = Index(*arrays, np.empty(0, np.uint32), tuple(self.kinds.values()), now)
        if len(index) < LARGE:
            return index
        return replace(index, order=_longest_first(index))


def _longest_first(index: Index) -> np.ndarray:
    """Lines in order of their lengths, (N,) uint32; at most 16 bytes a line are used meanwhile."""
    keys = np.empty(len(index), np.float32)
    for start in range(0, len(keys), LARGE):
        part = np.arange(start, min(start + LARGE, len(keys)))
        keys[part] = -index.lengths_s(part)
    return np.argsort(keys, kind="stable").astype(np.uint32)


def refuse_duplicates(index: Index, path: Path, shown: Path) -> None:
    """Compare the ids of lines with equal hashes, first in the file first. Raises ValueError."""
    ordered = np.sort(index.hashes)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(index.hashes, kind="stable")
    repeated = np.flatnonzero(index.hashes[order][1:] == index.hashes[order][:-1])
    with open(path, "rb") as file:
        for first, second in sorted(zip(order[repeated], order[repeated + 1], strict=True)):
            ids = []
            for line in (first, second):
                file.seek(index.offsets[line])
                ids.append(files.parse(file.readline(), str(shown))["id"])
            if ids[0] == ids[1]:
                where = (
                    f"{shown}:{second + 1}: the id {ids[0]!r} is that of line {first + 1} already"
                )
                raise ValueError(f"{where}; ids must differ")


def hash_of(id: str) -> int:
    """64 bits of an id."""
    return int.from_bytes(
        hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )
