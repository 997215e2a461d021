"""What is wrong with a manifest, with file, line and what to do.

    problems = validate("train.jsonl")               # fields, times against headers, texts
    problems = validate("train.jsonl", deep=True)    # and every sample, decoded in processes
    print(summary("train.jsonl"))                    # hours, speakers, words, lengths

A problem is an "error" (training would stop there) or a "warning" (it would learn from it). Files
are read in order of the lines, a window of them at a time; what is kept grows by an id a line.
"""

import hashlib
import math
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import features
from speechllm.data.manifest import parse
from speechllm.data.rows import faults, seconds
from speechllm.data.summary import summary

__all__ = ["Problem", "summary", "validate"]

# Speech of all languages measured stays well inside: 5 to 25 letters a second in alphabets, 2 to 9
# signs in Chinese and Japanese.
CHARS_PER_SECOND = (0.5, 35.0)
OVERSHOOT_S = 0.01  # as the loader allows: times are written with two or three decimals
SHORTFALL_S = 0.1  # by which a whole file may be longer than its 'duration'
SILENCE_DB = -60.0  # RMS below full scale, under which nobody hears a voice
CLIPPED_SHARE = 0.001  # of the samples at full scale; loud but sound recordings have far fewer
WINDOW = 4096  # lines in flight


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    file: str
    line: int
    id: str
    message: str
    hint: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.id}: {self.message}; {self.hint}"


# (message, hint, severity)
Finding = tuple[str, str, str]


def validate(path: str | Path, deep: bool = False, workers: int = 0) -> list[Problem]:
    """All problems of a manifest in order of its lines; deep also decodes every file.

    Raises ValueError if there is no such manifest. workers 0: as many as cores.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such manifest")
    return list(_problems(path, deep, workers or os.cpu_count() or 1))


def _problems(path: Path, deep: bool, workers: int) -> Iterator[Problem]:
    seen: dict[bytes, int] = {}
    n_lines = _count_lines(path)
    if not n_lines:
        yield Problem(str(path), 1, "?", "the manifest is empty", "prepare the corpus again")
    with (
        _pool(deep, workers) as pool,
        open(path, "rb") as file,
        tqdm(total=n_lines, desc=path.name, unit="line", disable=None) as bar,
    ):
        lines = enumerate(file, start=1)
        while window := list(islice(lines, WINDOW)):
            rows = [(number, *_row(line, number, seen)) for number, line in window]
            jobs = (_media(row, found, path.parent) for _, row, found in rows)
            heard = pool.map(_listen_deep if deep else _listen, jobs, chunksize=16)
            for (number, row, found), more in zip(rows, heard, strict=True):
                for message, hint, severity in [*found, *more]:
                    id = str(row.get("id", "?"))
                    yield Problem(str(path), number, id, message, hint, severity)
                bar.update()


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def _pool(deep: bool, workers: int) -> Executor:
    # Headers wait for the disk: threads. Decoding computes: processes, fresh ones since a fork
    # of a process with threads (torch) may hang.
    if deep:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    return ThreadPoolExecutor(2 * workers)


def _row(line: bytes, number: int, seen: dict[bytes, int]) -> tuple[dict[str, Any], list[Finding]]:
    """The row, empty where the line is none, and what is wrong with it by itself."""
    if not line.strip():
        return {}, [("an empty line", "remove it", "error")]
    try:
        row = parse(line)
    except ValueError as error:
        what, _, hint = str(error).partition("; ")
        return {}, [(what, hint, "error")]
    found = [(what, hint, "error") for what, hint in faults(row)]
    if not isinstance(row, dict):
        return {}, found
    key = hashlib.blake2b(repr(row.get("id")).encode(errors="replace"), digest_size=8).digest()
    if "id" in row and seen.setdefault(key, number) != number:
        found.append((f"the id is that of line {seen[key]}", "ids must differ", "error"))
    return row, found + (list(_text_findings(row)) if not found else [])


def _text_findings(row: dict[str, Any]) -> Iterator[Finding]:
    text, duration = row.get("text"), seconds(row)
    if text is None:
        return
    if not text.strip():
        yield "'text' is empty", "right for an example without speech; else remove it", "warning"
    elif text != text.strip() or "  " in text:
        yield "'text' has spaces around it or two in a row", "remove them", "warning"
    if "\ufffd" in text:
        yield "'text' has U+FFFD, a broken character", "read the source as UTF-8", "warning"
    if duration and text.strip():
        rate = len(text) / duration
        if not CHARS_PER_SECOND[0] <= rate <= CHARS_PER_SECOND[1]:
            hint = "do text and audio belong together?"
            yield f"{rate:.1f} characters a second ({duration:.2f} s)", hint, "warning"


# (file, start in seconds or None for all of the file, duration in seconds or None): what to hear.
Wanted = tuple[str, float | None, float | None]


def _media(row: dict[str, Any], found: list[Finding], folder: Path) -> list[Wanted]:
    """The audio of a row and of its messages; none where the row itself is in error."""
    if any(severity == "error" for _, _, severity in found):
        return []
    parts = [row] if row.get("audio") is not None else []
    for message in row.get("messages") or []:
        content = message.get("content") if isinstance(message, dict) else None
        parts += [
            p for p in content or [] if isinstance(p, dict) and isinstance(p.get("audio"), str)
        ]
    return [
        (os.path.normpath(folder / p["audio"]), p.get("start"), p.get("duration")) for p in parts
    ]


def _listen(wanted: list[Wanted]) -> list[Finding]:
    """Check the wanted times against the headers."""
    return [finding for one in wanted for finding in _header_findings(*one)]


def _header_findings(path: str, start_s: float | None, duration: float | None) -> Iterator[Finding]:
    try:
        info = features.info(path)
    except ValueError as error:
        what, _, hint = str(error).partition("; ")
        yield what, hint or "remove the line", "error"
        return
    length, start = info.duration_s, start_s or 0.0
    if not info.n_samples:
        yield f"{path} holds no samples", "remove the line, or fetch the file again", "error"
    elif start >= length:
        hint = "is it in seconds, and of this file?"
        yield f"'start' is {start} s, but {path} has {length:.3f} s", hint, "error"
    elif duration is not None and start + duration > length + OVERSHOOT_S:
        hint = "shorten 'duration', or fetch the file again if it was cut off"
        yield f"ends at {start + duration:.3f} s, but {path} has {length:.3f} s", hint, "error"
    elif start_s is None and duration is not None and duration < length - SHORTFALL_S:
        hint = "write 'start' too, if only that part is meant"
        yield f"'duration' is {duration} s, but {path} has {length:.3f} s", hint, "warning"


def _listen_deep(wanted: list[Wanted]) -> list[Finding]:
    """Decode what is wanted and look at the samples."""
    found: list[Finding] = []
    for one in wanted:
        found += list(_header_findings(*one)) or list(_wave_findings(*one))
    return found


def _wave_findings(path: str, start: float | None, duration: float | None) -> Iterator[Finding]:
    try:
        wave, _ = features.load(path, None, start or 0.0, duration, mono=False)
    except ValueError as error:
        what, _, hint = str(error).partition("; ")
        yield what, hint or "remove the line", "error"
        return
    rms = math.sqrt(float(np.mean(np.square(wave, dtype=np.float64))))
    if 20 * math.log10(max(rms, 1e-9)) < SILENCE_DB:
        level = f"{20 * math.log10(rms):.0f} dB" if rms else "digital zero"
        yield f"silence ({level})", "was the microphone on? Listen, or remove the line", "warning"
    clipped = float(np.mean(np.abs(wave) >= 32767 / 32768))
    if clipped > CLIPPED_SHARE:
        yield f"{clipped:.1%} of the samples are clipped", "record it at a lower level", "warning"
