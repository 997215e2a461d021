"""A folder of features: what it holds, that one run alone writes it, files whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from features import presets

SHARD_BYTES = 64 << 20  # written when so much is waiting in memory


def holds(extractor) -> dict:
    """What a set made by this extractor says of itself, as JSON gives it back."""
    return json.loads(json.dumps({"preset": extractor.name, "options": extractor.options()}))


def refuse_other(folder: Path, wanted: dict) -> None:
    """Raise ValueError unless the set in `folder` holds what is wanted, and say what differs."""
    there = read(folder / "preset.json")
    if there["preset"] == wanted["preset"]:
        # an option that is younger than the set had its default when the set was made
        there["options"] = presets.plain(presets.options(there["preset"])) | there["options"]
        there = json.loads(json.dumps(there))
    options = wanted["options"]
    changed = [k for k, v in options.items() if there["options"].get(k) != v]
    if there["preset"] != wanted["preset"] or changed:
        raise ValueError(
            f"{folder}: holds {there['preset']}, wanted {wanted['preset']} "
            f"(different: {', '.join(changed) or 'the preset alone'}); "
            "give another folder, or extract the features anew"
        )


@contextlib.contextmanager
def writing(folder, wanted: dict) -> Iterator[None]:
    """Claim a folder for features: made if absent, refused if other features or another run is in.

    What a run that was killed left half written is removed. Raises ValueError.
    """
    folder = Path(folder)
    if (folder / "preset.json").exists():
        refuse_other(folder, wanted)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"{folder}: another run writes there; wait for its end, or give another folder"
            ) from None
        for path in folder.glob(".*.part"):
            path.unlink()
        if not (folder / "preset.json").exists():
            with whole(folder / "preset.json") as file:
                file.write(json.dumps(wanted, indent=1).encode() + b"\n")
        yield


def next_number(folder) -> int:
    """The first number that no shard in the folder has."""
    taken = [int(path.stem.split("-")[0]) for path in Path(folder).glob("[0-9]*-*.*")]
    return max(taken, default=-1) + 1


@contextlib.contextmanager
def whole(path: Path) -> Iterator:
    """A binary file that takes the place of `path` only once it is whole and on the disk."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); make room, run the same line again"
        ) from None
    finally:
        part.unlink(missing_ok=True)


class Writer:
    """Gathers utterances and writes them as `NAME-00`, `NAME-01`, ... of a folder that is claimed.

    What was added is stored at the end of the `with`, also when that is an interrupt.
    """

    def __init__(self, folder, name: str):
        self.folder, self.name = Path(folder).absolute(), name
        self._n_written, self._n_bytes = 0, 0
        self._waiting: dict[str, tuple[np.ndarray, int]] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.flush()

    def add(self, id: str, x, n: int) -> None:
        """Add an utterance: features (T, dim) or a wave (N,), `n` of them valid."""
        x = np.ascontiguousarray(x, dtype="<f4")
        if not len(x) or id in self._waiting:
            raise ValueError(
                f"{id}: {'is there already' if len(x) else 'has no frames'}; leave it out"
            )
        self.check(id, x)
        self._waiting[id] = x, int(n)
        self._n_bytes += x.nbytes
        if self._n_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self.write(self.folder / f"{self.name}-{self._n_written:02d}", self._waiting)
            self._waiting, self._n_bytes = {}, 0
            self._n_written += 1

    def check(self, id: str, x: np.ndarray) -> None:
        """Raise ValueError for what this kind cannot hold."""

    def write(self, path: Path, waiting: dict[str, tuple[np.ndarray, int]]) -> None:
        """Write utterances under `path`, which lacks its suffix; the index last."""
        raise NotImplementedError


def read(path: Path) -> dict:
    """A JSON file; ValueError when it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}); {repair(path)}") from None


def repair(path: Path) -> str:
    """What to do about a damaged file of a set."""
    return f"remove {path.stem}.* there and run the same `features extract` again"
