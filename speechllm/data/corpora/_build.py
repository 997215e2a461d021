"""From the entries of an importer to manifests: durations from headers, faults, writing.

An importer lists what its corpus says, as `Entry`s with the place that said it; `finish` reads the
headers of all files, checks each row and writes the manifests, or nothing at all.
"""

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import features
from speechllm import files
from speechllm.data import manifest
from speechllm.data.rows import faults

_log = logging.getLogger(__name__)
# Times are written with two or three decimals, so that an end may lie this far past the file's.
OVERSHOOT_S = 0.01
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
        self.messages: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note a fault, at file and line."""
        self.messages.append(f"{where}: {what}")

    def settle(self, out: Path) -> None:
        """Raise ValueError if any and to be stopped; else list them in `out/skipped.txt`."""
        skipped = out / "skipped.txt"
        if not self.messages:
            skipped.unlink(missing_ok=True)
            return
        shown = "\n  ".join(self.messages[:_SHOWN])
        n_more = len(self.messages) - _SHOWN
        more = f"\n  and {n_more} more" if n_more > 0 else ""
        if self.on_error == "stop":
            raise ValueError(
                f"{len(self.messages)} faults; mend them, or go on without them (--on-error skip):"
                f"\n  {shown}{more}"
            )
        with files.writing(skipped) as file:
            file.writelines(f"{message}\n" for message in self.messages)
        _log.warning("skipped %d, listed in %s:\n  %s%s", len(self.messages), skipped, shown, more)


def finish(
    out: str | Path, entries: dict[str, list[Entry]], found: Faults, workers: int = 0
) -> dict[str, Path]:
    """Measure, check and write `out/<name>.jsonl` for each name; the paths by name.

    Raises ValueError with all faults (`on_error` "stop") and where a manifest would be empty.
    """
    out = Path(out).absolute()
    paths = {e.row["audio"] for part in entries.values() for e in part if _must_measure(e.row)}
    lengths = measure(paths, workers)
    good = {name: _good_rows(part, lengths, found) for name, part in entries.items()}
    found.settle(out)
    for name, rows in good.items():
        if not rows:
            raise ValueError(f"{name}: no utterance is left of {len(entries[name])}")
    manifests = {name: out / f"{name}.jsonl" for name in entries}
    for name, path in manifests.items():
        manifest.write(path, good[name])
    return manifests


def measure(paths: Iterable[str], workers: int = 0) -> dict[str, float | str]:
    """Seconds of each file by its header, or what is wrong with it, read in threads."""
    paths = sorted(paths)
    # Opening waits for the disk, so more threads than cores pay, most of all on a network drive.
    with ThreadPoolExecutor(workers or 2 * (os.cpu_count() or 1)) as pool:
        lengths = pool.map(_length, paths)
        bar = tqdm(lengths, total=len(paths), desc="reading headers", unit="file", disable=None)
        return dict(zip(paths, bar, strict=True))


def _length(path: str) -> float | str:
    try:
        info = features.info(path)
    except ValueError as error:
        return str(error)
    return round(info.duration_s, 6) if info.n_samples else f"{path}: it holds no samples"


def _must_measure(row: dict[str, Any]) -> bool:
    # With a duration and without a start, a corpus has measured the file itself (utt2dur).
    return row.get("duration") is None or "start" in row


def _good_rows(
    entries: list[Entry], lengths: dict[str, float | str], found: Faults
) -> list[dict[str, Any]]:
    rows, seen = [], {}
    for entry in entries:
        row, fault = _timed(entry.row, lengths)
        fault = fault or _row_fault(row, seen)
        if fault:
            found.add(entry.where, fault)
        else:
            seen[row["id"]] = entry.where
            rows.append(row)
    return rows


def _timed(
    row: dict[str, Any], lengths: dict[str, float | str]
) -> tuple[dict[str, Any], str | None]:
    """The row with its duration, and what is wrong with its times."""
    if row.get("audio") is None:  # text alone, or messages whose sounds were measured before
        return row, None
    length = lengths.get(row["audio"])
    if length is None:
        return row, None if os.path.exists(row["audio"]) else f"{row['audio']}: no such file"
    if isinstance(length, str):
        return row, length
    start, duration = row.get("start", 0.0), row.get("duration")
    if start >= length:
        return row, f"start {start} s is past the end of {row['audio']} ({length:.3f} s)"
    if duration is None:
        return row | {"duration": round(length - start, 6)}, None
    if start + duration > length + OVERSHOOT_S:
        return row, f"ends at {start + duration:.3f} s, but {row['audio']} has {length:.3f} s"
    return row, None


def _row_fault(row: dict[str, Any], seen: dict[str, str]) -> str | None:
    if fault := next(faults(row), None):
        return "; ".join(fault)
    if row["id"] in seen:
        return f"the id {row['id']!r} is that of {seen[row['id']]}; ids must differ"
    if not row.get("text", "-").strip():
        return f"{row['id']} has no words; remove it, or write what is said"
    return None


def read_lines(path: Path) -> list[tuple[str, str]]:
    """(place, line) of each line with something in it. Raises ValueError if it is not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    # Not `splitlines`, which also cuts at separators that may stand inside a text.
    lines = enumerate(text.split("\n"), start=1)
    return [(f"{path}:{number}", line.rstrip("\r")) for number, line in lines if line.strip()]


def folder_of(corpus: str, what: str) -> Path:
    """The corpus as an absolute path. Raises ValueError if it is not there."""
    path = Path(corpus).expanduser().absolute()
    if not corpus or not path.exists():
        raise ValueError(f"corpus is {corpus!r}, which does not exist; wanted {what}")
    return path
