"""Manifests cut into shards: tar files of sounds as WebDataset has them, and a manifest of places.

    OUT/train-000000.tar   000000000.flac 000000000.json 000000001.flac ...
    OUT/train.jsonl        rows whose `audio` is "train-000000.tar#512+84211"
    OUT/train.index.json   each shard's rows, seconds, bytes and SHA-256

A million loose files cost a file system more than their bytes; a shard is read in one go, from any
place that fsspec knows. The manifest is the index: length, text and place of each row, so that
batches are drawn by duration without a look at the sounds (`[data] window` keeps neighbours in a
shard near each other in time). A whole FLAC, Ogg or MP3 file goes in as it is, byte for byte;
what is cut out of one, or is a WAV, becomes FLAC, 16 bits or the 24 that it has.
"""

import hashlib
import io
import itertools
import json
import tarfile
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

import features
from features import remote
from features.shards import HEADER, fetched
from speechllm import files
from speechllm.data import manifest
from speechllm.data.manifest import Manifest
from speechllm.data.rows import map_parts

AS_IT_IS = {"FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}  # libsndfile's name -> ending
WIDE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
SAME_S = 0.01  # by which a row's duration may differ from its file's, and mean all of it


@dataclass(frozen=True)
class Config:
    """How a manifest is cut.

    Attributes:
        out: folder, or an address such as "s3://bucket/train".
        name: of the shards; the manifest's own where there is none.
        size_mb: of a shard, at least; the last may be smaller.
        seed: rows are shuffled by it before they are cut; None keeps their order.
        workers: threads that read and encode.
        on_error: "stop" or "skip" at a sound that cannot be read.
        copy: also write the manifest here; with an address for `out` its only place on this disk.
    """

    out: str
    name: str = ""
    size_mb: float = 256.0
    seed: int | None = 0
    workers: int = 4
    on_error: str = "stop"
    copy: Path | None = None


@dataclass
class Tally:
    """What came of it."""

    rows: int = 0
    shards: list[dict] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def shard(path: str | Path, config: Config) -> Tally:
    """Cut a manifest into shards; the manifest of places is written last.

    Raises:
        ValueError: a sound that cannot be read, with file, line and id (`on_error="stop"`).
        OSError: it cannot be written.
    """
    rows, tally = Manifest(path), Tally()
    name = config.name or Path(path).name.removesuffix(".jsonl")
    order = np.arange(len(rows))
    if config.seed is not None:
        order = np.random.default_rng(config.seed).permutation(len(rows))
    remote = "://" in config.out
    if remote and config.copy is None:
        raise ValueError(f"--out {config.out} is an address: give --manifest FILE as well")
    packed = _packed(rows, order, config, tally)
    new = list(_written(packed, config, name, tally))
    tally.rows = len(new)
    for place in [config.copy] if remote else [Path(config.out) / f"{name}.jsonl", config.copy]:
        if place:
            manifest.write(place, _led_to(new, config.out))
    index = json.dumps(tally.shards, indent=1).encode() + b"\n"
    with _writing(f"{config.out}/{name}.index.json") as file:
        file.write(index)
    if remote:
        with _writing(f"{config.out}/{name}.jsonl") as file:
            file.write("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in new).encode())
    return tally


def _led_to(rows: list[dict], out: str) -> Iterator[dict]:
    """Rows with whole paths to their shards."""
    home = out if "://" in out else str(Path(out).absolute())
    for row in rows:
        yield map_parts(row, lambda part: part | {"audio": f"{home}/{part['audio']}"})


def _packed(rows: Manifest, order, config: Config, tally: Tally) -> Iterator[tuple[dict, list]]:
    """Yield each row with the contents of its sounds, [(ending, bytes)], in order.

    Some are read ahead, by threads: decoding leaves Python to the others.
    """
    with ThreadPoolExecutor(max(config.workers, 1)) as pool:
        waiting: deque[tuple[int, Future]] = deque()
        ahead = 4 * max(config.workers, 1)
        for i in itertools.chain(order.tolist(), [None] * ahead):
            if i is not None:
                waiting.append((i, pool.submit(_contents, rows[i])))
            if not waiting or (i is not None and len(waiting) < ahead):
                continue
            line, future = waiting.popleft()
            try:
                yield future.result()
            except ValueError as error:
                where = f"{rows.path}:{rows.line(line)}: utterance {rows[line]['id']!r}: {error}"
                if config.on_error == "stop":
                    raise ValueError(f"{where} (--on-error skip goes on without it)") from None
                tally.errors.append(where)


def _contents(row: dict) -> tuple[dict, list[tuple[str, bytes]]]:
    """Give a row that knows no file any more, and the contents of its sounds in order."""
    found: list[tuple[str, bytes]] = []

    def take(part: dict) -> dict:
        ending, data, seconds = content(part)
        found.append((ending, data))
        left = {k: v for k, v in part.items() if k not in ("start", "channel", "features")}
        return left | {"audio": "", "duration": part.get("duration") or seconds}

    return map_parts(row, take), found


def content(part: dict) -> tuple[str, bytes, float]:
    """Give the ending, bytes and seconds of a file that holds a sound, and nothing else.

    Raises:
        ValueError: it cannot be read.
    """
    path, channel = part["audio"], part.get("channel")
    info = features.info(path)
    start, seconds = part.get("start") or 0.0, part.get("duration")
    kind, _, subtype = info.format.partition("/")
    rest = info.duration_s - start
    everything = not start and (seconds is None or abs(seconds - rest) < SAME_S)
    if everything and channel is None and kind in AS_IT_IS:
        opened = fetched(path)
        data = Path(path).read_bytes() if opened is path else opened.read()
        return AS_IT_IS[kind], data, info.duration_s
    wave, rate = features.load(path, None, start, seconds, mono=False, channel=channel)
    wave = np.atleast_2d(wave)
    file = io.BytesIO()
    width = "PCM_24" if subtype in WIDE else "PCM_16"
    soundfile.write(file, wave.T, rate, subtype=width, format="FLAC")
    return "flac", file.getvalue(), wave.shape[1] / rate


def _written(packed: Iterable, config: Config, name: str, tally: Tally) -> Iterator[dict]:
    """Write shards; yield each row with the place of its sounds, as names in the folder."""
    packed, number = iter(packed), 0
    for shard_number in itertools.count():
        first = next(packed, None)
        if first is None:
            return
        file_name = f"{name}-{shard_number:06d}.tar"
        with _writing(f"{config.out}/{file_name}") as file:
            tar = _Tar(file)
            facts = {"file": file_name, "rows": 0, "seconds": 0.0}
            for row, sounds in itertools.chain([first], packed):
                yield _add(tar, file_name, number, row, sounds)
                number += 1
                facts["rows"] += 1
                facts["seconds"] += float(row.get("duration") or 0.0)
                if tar.size >= config.size_mb * 1e6:
                    break
            tar.close()
        facts["seconds"] = round(facts["seconds"], 3)
        tally.shards.append(facts | {"bytes": tar.size, "sha256": tar.digest.hexdigest()})


def _add(tar: "_Tar", file_name: str, number: int, row: dict, sounds: list) -> dict:
    """Add a row to a shard: its sounds, and what it says; return it with their places."""
    places = []
    for i, (ending, data) in enumerate(sounds):
        inside = f"{number:09d}.{ending}" if not i else f"{number:09d}.{i}.{ending}"
        places.append(f"{file_name}#{tar.add(inside, data)}+{len(data)}")
    left = iter(places)
    row = map_parts(row, lambda part: part | {"audio": next(left)})
    tar.add(f"{number:09d}.json", json.dumps(row, ensure_ascii=False).encode())
    return row


class _Tar:
    """A tar file in the making: the same bytes for the same contents, the places known."""

    def __init__(self, file):
        self.file, self.size, self.digest = file, 0, hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """Add a file; return where its contents begin."""
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        start = self.size
        self._write(data + b"\0" * (-len(data) % HEADER))
        return start

    def close(self) -> None:
        """Write the end."""
        self._write(b"\0" * 2 * HEADER)

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)


@contextmanager
def _writing(place: str):
    """Open a file for bytes; at an address it is written once it is whole.

    Raises:
        ValueError: it cannot be written there.
    """
    if "://" not in place:
        with files.writing(place, binary=True) as file:
            yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "file"
        with open(whole, "wb") as file:
            yield file
        remote.put(whole, place)
