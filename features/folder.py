"""A folder of features: what it holds, that one run alone writes it, files whole or not there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock
import numpy as np

from features import indexes, presets

SHARD_BYTES = 64 << 20  # of a shard; the next one begins when it holds so much


def holds(extractor) -> dict:
    """What a set made by this extractor says of itself, as JSON gives it back."""
    return json.loads(json.dumps({"preset": extractor.name, "options": extractor.options()}))


def refuse_other(folder: Path, wanted: dict) -> None:
    """Raise ValueError unless the set in `folder` holds what is wanted, and say what differs."""
    there = indexes.about(folder)
    if there["preset"] == wanted["preset"]:
        # an option that is younger than the set had its default when the set was made
        there["options"] = presets.plain(presets.options(there["preset"])) | there["options"]
        there = json.loads(json.dumps(there))
    flat, asked = dict(_flat(there)), dict(_flat(wanted))
    changed = [name for name, value in asked.items() if flat.get(name) != value]
    both = [f"states of {set['preset']}" if "states" in set else set["preset"]
            for set in (there, wanted)]  # fmt: skip
    if changed or both[0] != both[1]:
        names = [name.removeprefix("options.") for name in changed if name != "preset"]
        raise ValueError(
            f"{folder}: holds {both[0]}, wanted {both[1]} "
            f"(different: {', '.join(names) or 'the preset alone'}); "
            f"give another folder, or {'store' if 'states' in there else 'extract'} them anew"
        )


def _flat(values: dict, before: str = "") -> Iterator[tuple[str, object]]:
    """The values of a nested object by their places, "options.dither"."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


@contextlib.contextmanager
def writing(folder, wanted: dict) -> Iterator[None]:
    """Claim a folder for features: made if absent, refused if other features or another run is in.

    What a run that was killed left half written is removed. Raises ValueError.
    """
    folder = Path(folder)
    if (folder / "preset.json").exists():
        refuse_other(folder, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    with _claimed(folder):
        for path in folder.glob(".*.part"):
            path.unlink()
        if not (folder / "preset.json").exists():
            with whole(folder / "preset.json") as file:
                file.write(json.dumps(wanted, indent=1).encode() + b"\n")
        yield


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise ValueError(
            f"{folder}: another run writes there; wait for its end, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def next_number(folder) -> int:
    """The first number that no shard in the folder has."""
    taken = [int(path.stem.split("-")[0]) for path in Path(folder).glob("[0-9]*-*.*")]
    return max(taken, default=-1) + 1


@contextlib.contextmanager
def whole(path: Path) -> Iterator:
    """A binary file that takes the place of `path` only once it is whole and on the disk."""
    part = _part(path)
    try:
        with _said(path), open(part, "wb") as file:
            yield file
            _settle(file, path)
    finally:
        part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _settle(file, path: Path) -> None:
    """Flush a part to the disk and give it its name."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(_part(path), path)


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); make room, run the same line again"
        ) from None


class Writer:
    """Writes utterances into `NAME-00`, `NAME-01`, ... of a folder that is claimed.

    Each goes to its file as it comes, while it lies in the cache: nothing waits in memory. What was
    added is stored at the end of the `with`, also when that is an interrupt.
    """

    suffix = ""
    descr = "<f4"  # of what is written

    def __init__(self, folder, name: str):
        self.folder, self.name = Path(folder).absolute(), name
        self._n_written, self._file, self._first = 0, None, 0
        self._held: dict[str, tuple] = {}  # of each utterance what its index wants, and its end
        self._of: dict[str, list | None] = {}  # and what it was made of (requests.py)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    @property
    def _end(self) -> int:
        """Bytes up to the end of the last utterance."""
        return next(reversed(self._held.values()))[1] if self._held else self._first

    @property
    def path(self) -> Path:
        """Where the file that is being written will stand."""
        return self.folder / f"{self.name}-{self._n_written:02d}{self.suffix}"

    def add(self, id: str, x, n: int, of: list | None = None) -> None:
        """Add an utterance: features (T, dim) or a wave (N,), `n` of them valid, made `of` that."""
        x = np.ascontiguousarray(x, dtype="<f4")
        self.add_slabs(id, x.shape, n, [x], of)

    def add_slabs(
        self, id: str, shape: tuple[int, ...], n: int, slabs: Iterable, of: list | None = None
    ) -> None:
        """Add an utterance of which not all lies in memory: (t, dim) or (n,) after another.

        What comes before an error of `slabs`, or too much or little of it, is as if it never was.
        """
        if not shape[0] or id in self._held:
            raise ValueError(
                f"{id}: {'is there already' if shape[0] else 'has no frames'}; leave it out"
            )
        self.check(id, shape)
        with _said(self.path):
            if self._file is None:
                self._file = open(_part(self.path), "wb")  # flush closes it
                self.begin(self._file, shape)
                self._first = self._file.tell()
            self._file.seek(self._end)  # over what a failure may have left
            entry = self.put(self._file, id, shape, int(n), self._exactly(id, shape[0], slabs))
            end = self._file.tell()
        self._of[id] = of
        self._held[id] = entry, end  # one step: an interrupt comes before or after it
        if end >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Give the file its name, then write its index; half an utterance is cut off before."""
        file, self._file = self._file, None
        if file is None:
            return
        path, entries = self.path, {id: entry for id, (entry, _) in self._held.items()}
        try:
            with _said(path), file:
                if self._held:
                    file.truncate(self._end)
                    self.finish(file, entries)
                    _settle(file, path)
        finally:
            _part(path).unlink(missing_ok=True)
            self._held = {}
        if entries:
            self.index(path, entries, {id: self._of[id] for id in entries})
            self._of = {}
            self._n_written += 1

    def check(self, id: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError for what this kind, or the open file, cannot hold."""

    def begin(self, file, shape: tuple[int, ...]) -> None:
        """Write what stands before the first utterance, whose shape this is."""

    def put(self, file, id: str, shape: tuple[int, ...], n: int, slabs: Iterator[np.ndarray]):
        """Write an utterance, one slab after another; returns what its index wants of it."""
        raise NotImplementedError

    def finish(self, file, entries: dict) -> None:
        """Write what had to wait for the last utterance."""

    def index(self, path: Path, entries: dict, of: dict) -> None:
        """Write the index of the whole file `path`: without it the file is not there."""
        raise NotImplementedError

    def _exactly(self, id: str, rows: int, slabs: Iterable) -> Iterator[np.ndarray]:
        """The slabs, of the type that is written; ValueError unless they are `rows` rows in all."""
        done = 0
        for slab in slabs:
            slab = np.ascontiguousarray(slab, dtype=self.descr)
            done += len(slab)
            if len(slab):
                yield slab
        if done != rows:
            raise ValueError(f"{id}: {done} rows, wanted {rows}; it changed while it was read")
