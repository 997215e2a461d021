"""Stored features: shards that are memory-mapped, each with its index; whole, or not there.

    with folder.writing("fbank", folder.holds(extractor)), Writer("fbank", "00000") as shard:
        shard.add("utt1", *extractor(wave))
    fbank = Stored("fbank", extractor)                    # refuses features of another front end
    x, n = fbank["utt1"]                                  # (T, dim) view of the file, and T

A folder holds `preset.json` (preset and all its options) and pairs NAME.npy, NAME.json: all frames
of a shard one after another, float32, as plain numpy reads them (or smaller: packed.py), and their
index (ids, rows, valid frames, CRC-32). Both are written under another name, flushed to the disk
and renamed, the index last: a shard without index does not exist. In memory stand 64 bytes an
utterance. T and n differ where a window is filled up (`pad_to_s`); a raw wave is (N,) and N.
A set may hold an encoder's states: `preset.json` then says which's under "states"; n is of frames.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from features import folder, indexes, packed, requests
from features.folder import holds, refuse_other, whole
from features.indexes import repair

OPEN_SHARDS = 128  # mapped at a time: each holds a file descriptor, of which there are some 1024


class Writer(folder.Writer):
    """Writes shards: NAME-00.npy with NAME-00.json, and so on."""

    suffix = ".npy"

    def __init__(self, folder, name: str, dtype: str = "float32"):
        super().__init__(folder, name)
        self.dtype, self.descr = dtype, packed.check(dtype)

    def add(self, id: str, x, n: int, of: list | None = None) -> None:
        """Add an utterance as the base does, packed."""
        rows = packed.pack(x, self.dtype)
        self.add_slabs(id, rows.shape, n, [rows], of)

    def check(self, id: str, shape: tuple[int, ...]) -> None:
        """Refuse another width than that of the frames before it."""
        if self._held and shape[1:] != self._shape:
            raise ValueError(
                f"{id}: its features are {shape}, those before it (rows, *{self._shape}); "
                "a set has one width: leave it out"
            )

    def begin(self, file, shape: tuple[int, ...]) -> None:
        """Write a header that leaves room for any number of rows."""
        self._shape = shape[1:]
        _header(file, (0, *self._shape), self.descr)

    def put(
        self, file, id: str, shape: tuple[int, ...], n: int, slabs: Iterator[np.ndarray]
    ) -> tuple[int, int, int]:
        """Write frames; returns rows, valid ones, and the CRC-32 of all so far."""
        checksum = next(reversed(self._held.values()))[0][-1] if self._held else 0
        for slab in slabs:
            file.write(slab.data)
            checksum = zlib.crc32(slab, checksum)
        return shape[0], n, checksum

    def finish(self, file, entries: dict) -> None:
        """Write the header once more, with the rows there are."""
        file.seek(0)
        rows = sum(rows for rows, _, _ in entries.values())
        _header(file, (rows, *self._shape), self.descr)

    def index(self, path: Path, entries: dict, of: dict) -> None:
        """Write NAME-00.json."""
        rows, valid, checksums = zip(*entries.values(), strict=True)
        index = {"ids": list(entries), "rows": rows, "valid": valid, "crc32": checksums[-1]}
        index["of"] = list(of.values())
        with whole(path.with_suffix(".json")) as file:
            file.write(json.dumps(index).encode())


def _header(file, shape: tuple[int, ...], descr: str) -> None:
    """As np.save writes it: padded, so that another number of rows changes no length."""
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


class Stored:
    """An opened set: `s[id]` -> features (T, dim), float32, and n.

    They are a read-only view of the file where it holds float32; n <= T, but of states.

    Opening reads the indexes and holds each against the size and header of its shard, not the
    frames: `verify` does. Raises ValueError for what is no set, is damaged, or was made by another
    front end than `extractor` (None: whichever), of which `states` may be wanted. May be pickled
    and forked.
    """

    def __init__(self, path, extractor=None, states: dict | None = None):
        self.folder = Path(path)
        if not (self.folder / "preset.json").is_file():
            raise ValueError(
                f"{path}: holds no stored features (no preset.json); "
                "make them: features extract SOURCE --out FOLDER"
            )
        if extractor is not None:
            refuse_other(self.folder, holds(extractor) | ({"states": states} if states else {}))
        about = indexes.about(self.folder)
        self.preset, self.options = about["preset"], about["options"]
        self.dtype, self.of_states = about["dtype"], "states" in about
        self._command = "speechllm data states" if self.of_states else "features extract"
        self._names: list[str] = sorted(path.stem for path in self.folder.glob("[0-9]*-*.json"))
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()
        self._index()

    def _index(self) -> None:
        """Read all indexes: sorted hashes of the ids, and shard, first row, rows, valid of each."""
        hashes, places, requests = [], [], []
        for shard, name in enumerate(self._names):
            path = self.folder / f"{name}.json"
            index = indexes.index(path, framed=not self.of_states)
            rows = np.array(index["rows"], dtype=np.int64)
            place = [np.full_like(rows, shard), np.cumsum(rows) - rows, rows, index["valid"]]
            places.append(np.stack(place, axis=1).astype(np.int64))
            hashes += [_hash(id) if id is not None else None for id in index["ids"]]
            requests += map(_made, index["of"])
            self._check(name, int(rows.sum()))
        there = np.array([i for i, hashed in enumerate(hashes) if hashed is not None], np.int64)
        hashed = np.array([h for h in hashes if h is not None], dtype=np.uint64)
        order = np.argsort(hashed)
        self._hashes, order = hashed[order], there[order]
        self._places = np.concatenate(places)[order] if places else np.zeros((0, 4), np.int64)
        self._made = np.array(requests, np.float64).reshape(-1, 3)[order]
        if (self._hashes[1:] == self._hashes[:-1]).any():
            raise ValueError(f"{self.folder}: an id stands there twice; extract into a new folder")

    def _check(self, name: str, n_rows: int) -> None:
        """Hold a shard's header and size against its index."""
        path = self.folder / f"{name}.npy"
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # noqa: BLE001  (its parser of headers raises any)
            raise ValueError(f"{path}: damaged ({error}); {repair(path)}") from None
        other = frames.dtype != packed.check(self.dtype)
        if not frames.ndim or len(frames) != n_rows or other:
            raise ValueError(
                f"{path}: damaged (has {len(frames)} rows of {frames.dtype}, its index says "
                f"{n_rows} of {self.dtype}); {repair(path)}"
            )

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        """The ids, shard by shard; read from the indexes, as they are not kept in memory."""
        for name in self._names:
            ids = indexes.index(self.folder / f"{name}.json")["ids"]
            yield from (id for id in ids if id is not None)

    def __contains__(self, id: str) -> bool:
        return self._find(id) is not None

    def __getitem__(self, id: str) -> tuple[np.ndarray, int]:
        shard, start, rows, valid = self._place(id)
        return packed.unpack(self._map(shard)[start : start + rows], self.dtype), valid

    def valid(self, id: str) -> int:
        """Valid frames of an utterance, from the index alone; threads may ask."""
        return self._place(id)[-1]

    def refuse_moved(self, id: str, start_s: float, channel: int | None, size: int = 0) -> None:
        """Raise ValueError where an utterance was made of another part of its file, or another one.

        `size` of the file in bytes, 0 if it is not known. A set that does not say is believed.
        """
        began, heard, bytes_ = self._made[self._find_at(id)].tolist()
        wanted = -1 if channel is None else channel
        said = {-1: "all channels"}
        if began == began and abs(began - start_s) > requests.START_S:
            what = f"made from {began:g} s on, but the row starts at {start_s:g} s"
        elif heard == heard and heard != wanted:
            heard, wanted = (said.get(c, f"channel {c:g}") for c in (heard, wanted))
            what = f"made of {heard}, but the row wants {wanted}"
        elif size and bytes_ == bytes_ and bytes_ != size:
            what = f"made of a file of {bytes_:.0f} bytes, which has {size} now"
        else:
            return
        raise ValueError(f"{self.folder}#{id}: {what}; run the same `{self._command}` again")

    def verify(self) -> None:
        """Read all frames; ValueError for a shard that is not as it was written."""
        for shard, name in enumerate(self._names):
            path = self.folder / f"{name}.npy"
            if zlib.crc32(self._map(shard)) != indexes.index(path.with_suffix(".json"))["crc32"]:
                raise ValueError(f"{path}: damaged (checksum); {repair(path)}")

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": OrderedDict()}

    def _place(self, id: str) -> list[int]:
        return self._places[self._find_at(id)].tolist()

    def _find_at(self, id: str) -> int:
        at = self._find(id)
        if at is None:
            raise ValueError(
                f"{self.folder}: has no features of {id!r}; run `{self._command}` once more"
            )
        return at

    def _find(self, id: str) -> int | None:
        hashed = np.uint64(_hash(id))
        at = int(np.searchsorted(self._hashes, hashed))
        return at if self._hashes[at : at + 1] == hashed else None

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            path = self.folder / f"{self._names[shard]}.npy"
            self._maps[shard] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            if len(self._maps) > OPEN_SHARDS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(shard)
        return self._maps[shard]


def _made(request: list | None) -> tuple[float, float, float]:
    """Start, channel (-1: all) and size in bytes of what was asked for; NaN where nobody knows."""
    if request is None:
        return np.nan, np.nan, np.nan
    _, size, _, start, _, channel = request
    return start, -1 if channel is None else channel, np.nan if size is None else size


def split(reference: str) -> tuple[str, str]:
    """Folder and id of a reference FOLDER#ID; both may hold a '#', and the folder is a set."""
    at = [i for i, sign in enumerate(reference) if sign == "#"]
    for i in at:
        if os.path.isfile(os.path.join(reference[:i], "preset.json")):
            return reference[:i], reference[i + 1 :]
    folder, _, id = reference.partition("#")
    return folder, id


def _hash(id: str) -> int:
    data = id.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
