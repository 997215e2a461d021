"""From the entries of an importer to manifests: durations from headers, faults, writing.

An importer lists what its corpus says, as `Entry`s with the place that said it; `finish` reads the
headers of all files, checks each row and writes the manifests, or nothing at all.
"""

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.audio import Info
from speechllm import files, places
from speechllm.data import manifest
from speechllm.data.corpora._headers import measure
from speechllm.data.corpora._ids import Ids, language, report
from speechllm.data.faults import faults

_log = logging.getLogger(__name__)
# Times are written with two or three decimals, so that an end may lie this far past the file's.
OVERSHOOT_S = 0.01
# Ends of lines, tabs and the like inside a text, whatever wrote them, are spaces of one line.
BREAKS = re.compile("[ \t]*[\t-\r\x1c-\x1f\x85\u2028\u2029]+[ \t]*")
HEARD = ("audio", "start", "duration", "channel", "text")  # what tells two rows of one id apart
LONGEST = 500  # characters of a message, which may hold what the row holds
_SHOWN = 20


@dataclass(frozen=True)
class Entry:
    """A row without `duration` (read from the file, up to its end) or with, and its origin."""

    row: dict[str, Any]
    where: str


class Faults:
    """What is wrong with a corpus: `on_error` "stop" raises all of it at the end, "skip" lists it.

    Raises ValueError for another word.
    """

    def __init__(self, on_error: str):
        if on_error not in ("stop", "skip"):
            raise ValueError(f"on_error is {on_error!r}; wanted 'stop' or 'skip'")
        self.on_error = on_error
        self._found: list[tuple[str, str]] = []

    def add(self, where: str, what: str) -> None:
        """Note a fault, at file and line."""
        self._found.append((where, what if len(what) <= LONGEST else what[:LONGEST] + "..."))

    @property
    def messages(self) -> list[str]:
        """The faults in order of their places."""
        return [f"{where}: {what}" for where, what in sorted(self._found, key=_place)]

    def settle(self, out: Path) -> None:
        """Raise ValueError if any and to be stopped; else list them in `out/skipped.txt`."""
        skipped = out / "skipped.txt"
        if not self._found:
            skipped.unlink(missing_ok=True)
            return
        messages = self.messages
        shown = "\n  ".join(messages[:_SHOWN])
        n_more = len(messages) - _SHOWN
        more = f"\n  and {n_more} more" if n_more > 0 else ""
        if self.on_error == "stop":
            raise ValueError(
                f"{len(messages)} faults; mend them, or go on without them (--on-error skip):"
                f"\n  {shown}{more}"
            )
        with files.writing(skipped) as file:
            file.writelines(f"{message}\n" for message in messages)
        _log.warning("skipped %d, listed in %s:\n  %s%s", len(messages), skipped, shown, more)


def _place(fault: tuple[str, str]) -> list[tuple[int, int, str]]:
    """Sorts line 9 before line 10."""
    words = re.split(r"(\d+)", fault[0])
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words]


def finish(
    out: str | Path,
    entries: dict[str, list[Entry]],
    faults: Faults,
    workers: int = 0,
    apart: bool = False,
) -> dict[str, Path]:
    """Measure, check and write `out/<name>.jsonl` for each name; the paths by name.

    Two recordings of one id are a fault, or with `apart` told apart by a number.
    Raises ValueError with all faults (`on_error` "stop") and where a manifest would be empty.
    """
    out = Path(out).absolute()
    paths = {e.row["audio"] for part in entries.values() for e in part if _must_measure(e.row)}
    lengths = measure(paths, workers)
    good = {name: _good_rows(name, part, lengths, faults, apart) for name, part in entries.items()}
    faults.settle(out)
    for name, rows in good.items():
        if not rows:
            raise ValueError(f"{name}: no utterance is left of {len(entries[name])}")
    manifests = {name: out / f"{name}.jsonl" for name in entries}
    for name, path in manifests.items():
        manifest.write(path, good[name])
    return manifests


def _must_measure(row: dict[str, Any]) -> bool:
    # With a duration and without a start, a corpus has measured the file itself (utt2dur).
    known = row.get("duration") is not None and not row.keys() & {"start", "channel"}
    return row.get("audio") is not None and not known


def _good_rows(
    name: str, entries: list[Entry], lengths: dict[str, Info | str], faults: Faults, apart: bool
) -> list[dict[str, Any]]:
    rows, seen, ids, unknown = [], {}, Ids(), Counter()
    for entry in entries:
        try:
            row = _timed(entry.row, lengths)
            if row.get("text") is not None and not row["text"].strip():
                raise ValueError(f"{row['id']} has no words; remove it, or write what is said")
            if row.get("lang"):
                row["lang"] = language(row["lang"], unknown)
            if apart:
                row["id"] = ids.of(row["id"], repr([row.get(key) for key in HEARD]).encode())
            elif row["id"] in seen:
                there = seen[row["id"]]
                raise ValueError(f"the id {row['id']!r} is that of {there}; ids must differ")
            seen[row["id"]] = entry.where
            rows.append(row)
        except ValueError as error:
            faults.add(entry.where, str(error))
    report(name, ids, unknown)
    return rows


def _timed(row: dict[str, Any], lengths: dict[str, Info | str]) -> dict[str, Any]:
    """The row, checked, with its duration. Raises ValueError with what is wrong with it."""
    for key in row.keys() & {"text", "translation"}:
        if isinstance(row[key], str):
            row = row | {key: BREAKS.sub(" ", row[key])}
    measured = row.get("duration") is None
    # The duration that is still to come is no fault: any will do for a moment.
    if fault := next(faults(row | {"duration": 1.0} if measured else row), None):
        raise ValueError("; ".join(fault))
    if row.get("audio") is None:  # text alone, or messages whose sounds were measured before
        return dict(row)
    info, path = lengths.get(row["audio"]), row["audio"]
    if info is None:
        if not os.path.exists(path):
            raise ValueError(f"{path}: no such file")
        return dict(row)
    if isinstance(info, str):
        raise ValueError(info)
    if (row.get("channel") or 0) >= info.channels:
        raise ValueError(f"channel {row['channel']} (from 0), but {path} has {info.channels}")
    return _inside(row, path, round(info.duration_s, 6))


def _inside(row: dict[str, Any], path: str, length: float) -> dict[str, Any]:
    """The row with its duration, up to the file's end where none is given. Raises ValueError."""
    start, duration = row.get("start") or 0.0, row.get("duration")
    if start >= length:
        raise ValueError(f"start {start} s is past the end of {path} ({length:.3f} s)")
    if duration is None:
        return row | {"duration": round(length - start, 6)}
    if start + duration > length + OVERSHOOT_S:
        raise ValueError(f"ends at {start + duration:.3f} s, but {path} has {length:.3f} s")
    return dict(row)


def manifests_in(path: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """The files of these endings in a folder by name, or the one file that was given.

    Raises:
        ValueError: there are none, or two of one name.
    """
    there = path.iterdir() if path.is_dir() else [path]
    lists = sorted(one for one in there if one.is_file() and one.name.endswith(endings))
    lists = lists if path.is_dir() else [path]
    if not lists:
        raise ValueError(f"{path}: no {' or '.join(endings)} in it")
    longest = sorted(endings, key=len, reverse=True)
    manifests = {}
    for one in lists:
        name = next((one.name.removesuffix(end) for end in longest if one.name.endswith(end)), "")
        name = name or one.stem
        if name in manifests:
            other = manifests[name]
            raise ValueError(f"{one} and {other} have one name; give the one that is meant")
        manifests[name] = one
    return manifests


def folder_of(corpus: str, what: str) -> Path:
    """The corpus as an absolute path. Raises ValueError if it is not there."""
    path = Path(corpus).expanduser().absolute()
    if not corpus or not path.exists():
        hint = places.near(path) if corpus else "name it"
        raise ValueError(f"corpus is {corpus!r}, which does not exist; wanted {what}; {hint}")
    return path
