"""What to extract: the utterances of a sound file, a folder or a manifest (JSON Lines)."""

from __future__ import annotations

import codecs
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.containers import FOREIGN
from features.formats import ffmpeg

SUFFIXES = (
    ".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .sph .nist .au .snd .caf .w64 .rf64"
).split()

MAX_S = 1e7  # four months: more is a number of something else


@dataclass(frozen=True)
class Item:
    """One utterance: a file, or a part of one."""

    id: str
    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | None = None


def find(source) -> list[Item]:
    """Items of a sound file, of a folder (searched through), or of a JSON Lines manifest.

    A manifest row has `id` and `audio`, and may have `start` and `duration` in seconds, and
    `channel`, from 0; relative paths start at the manifest's folder. Raises ValueError when nothing
    is found, or two items have one name.
    """
    source = Path(source)
    if not source.exists():
        raise ValueError(
            f"{source}: no such file or folder; check it (relative ones start at {Path.cwd()})"
        )
    if source.suffix in (".jsonl", ".json"):
        items = [item for _, item in _rows(source)]
    elif source.is_dir():
        items = _named(source, [p for p in _files(source) if p.suffix.lower() in _readable()])
    else:
        items = [Item(source.stem, str(source))]
    if not items and source.is_file():
        raise ValueError(f"{source}: an empty manifest; wanted a row for each sound")
    if not items:
        raise ValueError(
            f"{source}: no sound in it; wanted {' '.join(SUFFIXES)} or a manifest (.jsonl)"
        )
    _refuse_twins(source, items)
    return items


def left_out(source) -> list[Path]:
    """Sound files of a folder that `find` leaves out: nothing here reads their kind."""
    kinds = FOREIGN - _readable()
    return [p for p in _files(Path(source)) if p.suffix.lower() in kinds]


def _readable() -> set[str]:
    """Suffixes of what is read here; with ffmpeg also of what libsndfile does not know."""
    return {*SUFFIXES, *FOREIGN} if ffmpeg.tool() else {*SUFFIXES}


def _files(source: Path) -> list[Path]:
    """All files under a folder, in order; linked folders too, each folder once."""
    files, links, seen = [], [source], set()
    while links:
        for home, folders, names in os.walk(links.pop(0)):
            if (real := os.path.realpath(home)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            paths = [Path(home, name) for name in folders]
            links += [path for path in paths if path.is_symlink()]
            files += [path for name in names if (path := Path(home, name)).is_file()]
    return sorted(files)


def _named(source: Path, files: list[Path]) -> list[Item]:
    """Each file by its path in the folder without suffix; with it where two would be one."""
    ids = [_text(path.relative_to(source).with_suffix("")) for path in files]
    full = [_text(path.relative_to(source)) for path in files]
    while len(set(ids)) < len(ids) and ids != full:  # a.flac, a.mp3, and a.flac.wav
        times = Counter(ids)
        ids = [long if times[id] > 1 else id for id, long in zip(ids, full, strict=True)]
    return [Item(id, str(path)) for id, path in zip(ids, files, strict=True)]


def _text(path: Path) -> str:
    """A path as text with / in it, also of bytes that are no UTF-8."""
    return os.fsencode(path.as_posix()).decode("utf-8", errors="backslashreplace")


def refer(source, out, new) -> int:
    """Write the manifest `source` as `new`, its rows referring to their features in `out`.

    A row whose features are stored there, of its very file, times and channel, gets "features":
    "FOLDER#ID", and is trained on without its sound being read; the others get none. Paths are
    relative to the folder of `new`. Returns how many refer. Raises ValueError when `source` is no
    manifest, or `out` no set.
    """
    from features import requests
    from features.folder import whole
    from features.stored import Stored

    source, new = Path(source), Path(new)
    Stored(out)  # refuses what is no set, or is damaged
    home, n, made = new.absolute().parent, 0, requests.made(out, "shards")
    folder = os.path.relpath(out, home)
    home.mkdir(parents=True, exist_ok=True)
    with whole(new) as file:
        for row, item in _rows(source):
            if not os.path.isabs(row["audio"]):
                row["audio"] = os.path.relpath(item.path, home)
            row.pop("features", None)  # of another set, or of what the row was before
            if item.id in made and requests.same(requests.of(item, out), made[item.id]):
                row["features"] = f"{folder}#{item.id}"
                n += 1
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return n


def _rows(path: Path) -> Iterator[tuple[dict, Item]]:
    try:
        lines = path.read_bytes().split(b"\n")  # other line ends may stand inside a text
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read as a manifest ({error}); wanted JSON Lines"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.removeprefix(codecs.BOM_UTF8).strip():
            continue
        try:
            row = json.loads(line.decode("utf-8-sig"))
            item = _item(row, path.parent)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            shown, why = repr(line[:60].decode(errors="replace")), str(error)[:200]
            raise ValueError(
                f'{path}:{number}: wanted {{"id": ..., "audio": ...}}, got {shown} '
                f"({type(error).__name__}: {why}); correct the line"
            ) from None
        yield row, item


def _item(row: dict, home: Path) -> Item:
    id, audio, channel = row["id"], row["audio"], row.get("channel")
    if not isinstance(audio, str) or not isinstance(id, str | int) or "\0" in audio:
        raise ValueError("'id' and 'audio' are texts")
    start, duration = (_seconds(key, row.get(key)) for key in ("start", "duration"))
    if channel is not None and not (type(channel) is int and 0 <= channel < 1024):
        raise ValueError("'channel' is a number from 0")
    return Item(str(id), str(home / audio), start or 0.0, duration, channel)


def _seconds(key: str, value) -> float | None:
    """A time of a row. Raises ValueError for what is none, or beyond all measure."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 <= value <= MAX_S):
        raise ValueError(f"'{key}' is in seconds, 0 to {MAX_S:.0f}")
    return None if value is None else float(value)


def _refuse_twins(source: Path, items: list[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        if item.id in seen:
            raise ValueError(
                f"{source}: {seen[item.id]} and {item.path} would both be {item.id!r}; rename one"
            )
        seen[item.id] = item.path
