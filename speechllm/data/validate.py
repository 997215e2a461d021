"""What is wrong with a manifest, with file, line and what to do.

    problems = validate("train.jsonl")               # fields, texts, times, stored features
    problems = validate("train.jsonl", deep=True)    # and every sample, decoded in processes
    print(summary("train.jsonl"))                    # hours, speakers, words, lengths

A problem is an "error" (training would stop there) or a "warning" (it would learn from it). Files
are read in order of the lines, a window of them at a time; what is kept grows by 8 bytes a line.
"""

import functools
import os
from array import array
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from speechllm import config, files, media
from speechllm.data.faults import faults
from speechllm.data.index import hash_of
from speechllm.data.problems import Problem, grouped, kind_of
from speechllm.data.rows import map_paths, parts, seconds
from speechllm.data.summary import summary
from speechllm.media import Finding
from speechllm.tasks import languages
from speechllm.tasks.asr import sound

__all__ = ["Problem", "grouped", "summary", "validate"]

# Speech of all languages measured stays well inside: 5 to 25 letters a second in alphabets, 2 to 9
# signs in Chinese and Japanese.
CHARS_PER_SECOND = (0.5, 35.0)
WINDOW = 4096  # lines in flight


def validate(path: str | Path, deep: bool = False, workers: int = 0) -> list[Problem]:
    """All problems of a manifest in order of its lines; deep also decodes every file.

    Raises ValueError if there is no such manifest. workers 0: as many as cores.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such manifest")
    hashes = array("Q")
    problems = list(_problems(path, deep, workers or os.cpu_count() or 1, hashes))
    return sorted([*problems, *_duplicates(path, hashes)], key=lambda problem: problem.line)


def _problems(path: Path, deep: bool, workers: int, hashes: array) -> Iterator[Problem]:
    """All but equal ids; a hash of each line's id goes into `hashes`."""
    n_lines = _count_lines(path)
    if not n_lines:
        yield Problem(str(path), 1, "?", "the manifest is empty", "prepare the corpus again")
    look = functools.partial(_part_findings, deep=deep)
    with (
        _pool(deep, workers) as pool,
        open(path, "rb") as file,
        tqdm(total=n_lines, desc=path.name, unit="line", disable=None) as bar,
    ):
        lines = enumerate(file, start=1)
        while window := list(islice(lines, WINDOW)):
            rows = [(number, *_row(line)) for number, line in window if number <= n_lines]
            hashes.extend(hash_of(_id(row, number)) for number, row, _ in rows)
            jobs = [_media(row, findings, path.parent) for _, row, findings in rows]
            heard = pool.map(look, jobs, chunksize=16)
            for (number, row, findings), wanted, more in zip(rows, jobs, heard, strict=True):
                named, id = [part[part["type"]] for part in wanted], _shown_id(row)
                for message, hint, severity in [*findings, *more]:
                    kind = kind_of(message, named)
                    yield Problem(str(path), number, id, message, hint, severity, kind)
                bar.update()


def _duplicates(path: Path, hashes: array) -> Iterator[Problem]:
    """Compare the ids of lines with equal hashes; only those lines are parsed again."""
    values = np.frombuffer(hashes, np.uint64)
    ordered = np.sort(values)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return
    lines = iter((np.flatnonzero(np.isin(values, twice)) + 1).tolist())
    first: dict[str, int] = {}
    with open(path, "rb") as file:
        at = next(lines)
        for number, line in enumerate(file, start=1):
            if number != at:
                continue
            id = _id(_row(line)[0], number)
            if first.setdefault(id, number) != number:
                message = f"the id is that of line {first[id]}"
                kind = kind_of(message)
                yield Problem(str(path), number, id, message, "ids must differ", kind=kind)
            at = next(lines, 0)


def _id(row: dict[str, Any], number: int) -> str:
    """The id of a row as text; of a row without one, something that no other line has."""
    return str(row["id"]) if "id" in row else f"\n{number}"


def _shown_id(row: dict[str, Any]) -> str:
    id = row.get("id", "?")
    return id if isinstance(id, str) else files.shown(id)


def _count_lines(path: Path) -> int:
    """Lines up to the last that is not empty: the reader passes over empty ones at the end."""
    last = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            last = number if line.strip() else last
    return last


def _pool(deep: bool, workers: int) -> Executor:
    # Headers wait for the disk: threads. Decoding computes: processes, fresh ones since a fork
    # of a process with threads (torch) may hang.
    if deep:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    return ThreadPoolExecutor(2 * workers)


def _row(line: bytes) -> tuple[dict[str, Any], list[Finding]]:
    """The row, empty where the line is none, and what is wrong with it by itself."""
    if not line.strip():
        return {}, [("an empty line", "remove it", "error")]
    try:
        row = files.parse(line)
    except ValueError as error:
        what, _, hint = str(error).partition("; ")
        return {}, [(what, hint or "wanted one JSON object a line, in UTF-8", "error")]
    findings = [(what, hint, "error") for what, hint in faults(row)]
    if not isinstance(row, dict):
        return {}, findings
    findings += [*_task_findings(row.get("task")), *_language_findings(row)]
    return row, findings + (list(_text_findings(row)) if not findings else [])


def _task_findings(task: Any) -> Iterator[Finding]:
    """What training would refuse: a task that is no file of tasks/."""
    known = config.names("tasks")
    if isinstance(task, str) and task not in known:
        yield f"no task called {task!r}", config.suggest(task, known), "error"


def _language_findings(row: dict[str, Any]) -> Iterator[Finding]:
    """What a translation would refuse: codes of no language, or of one; others may take them."""
    severity, codes = "error" if row.get("translation_lang") else "warning", []
    for key in ("lang", "translation_lang"):
        if isinstance(row.get(key), str):
            try:
                codes.append(languages.code(row[key]))
            except ValueError as error:
                what, _, hint = str(error).partition("; ")
                yield f"'{key}': {what}", hint or "ISO 639, as 'en'", severity
    if len(codes) == 2 and codes[0] == codes[1]:
        hint = "one of them is another language"
        yield f"'lang' and 'translation_lang' are both {codes[0]!r}", hint, "error"


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


def _media(row: dict[str, Any], findings: list[Finding], folder: Path) -> list[dict[str, Any]]:
    """The media of a row and of its messages; none where the row itself is in error."""
    if any(severity == "error" for _, _, severity in findings):
        return []
    row = map_paths(row, lambda path: os.path.normpath(folder / path))
    ours = [sound(row)] if row.get("audio") is not None and row.get("messages") else []
    return [*ours, *(part for part in parts(row) if isinstance(part.get(part["type"]), str))]


def _part_findings(wanted: list[dict[str, Any]], deep: bool) -> list[Finding]:
    """What the files of the media say of each part."""
    return [
        finding
        for part in wanted
        if media.reads(part["type"])
        for finding in media.of(part["type"]).faults(part, deep)
    ]
