"""Hypotheses of other programs: sclite's `.trn` and `.ctm`, Kaldi's `text`, TSV, JSON Lines.

    read("hyp.trn")  ->  {"1089-134686-0000": "he hoped ...", ...}

| ending | a line |
|---|---|
| .trn | words (id) |
| .ctm | id channel start duration word [confidence] |
| .tsv | id TAB words, or columns named in a first line: id, and hyp, pred_text or hypothesis |
| .jsonl .json | {"id": ..., "hyp": ...}; also pred_text, hypothesis |
| any other | id words: Kaldi's `text` |

A `text` in JSON is what was really said, in every toolkit; it is never taken for a hypothesis.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from speechllm import files
from speechllm.score.formats.hypotheses import some

SAID = ("hyp", "pred_text", "hypothesis")
COMMENT = ";;"
_TRN = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")
_MANY = re.compile(r"(?<!\S)[{}](?!\S)|<ALT")

Entry = tuple[int, str, str]  # number of the line, id, words


def read(path: str | Path) -> dict[str, str]:
    """Read a file of hypotheses by its ending.

    Raises:
        ValueError: it cannot be read, a line is of another form, an id is there twice; names file
            and line.
    """
    path = Path(path)
    readers = {".trn": _trn, ".ctm": _ctm, ".tsv": _tsv, ".jsonl": _json, ".json": _json}
    there: dict[str, str] = {}
    first: dict[str, int] = {}
    twice = []
    for number, name, text in readers.get(path.suffix.lower(), _kaldi)(path):
        if name in there:
            twice.append(f"{name} (lines {first[name]} and {number})")
        there[name] = " ".join(text.split())
        first.setdefault(name, number)
    if twice:
        raise ValueError(f"{path}: duplicate ids: {some(twice)}; each may be there once")
    if not there:
        raise ValueError(f"{path}: holds no hypothesis")
    return there


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of what is no comment and not empty; UTF-8, with BOM or not."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith(COMMENT):
            yield number, line.rstrip("\r")


def _trn(path: Path) -> Iterator[Entry]:
    for number, line in _lines(path):
        match = _TRN.fullmatch(line)
        if not match:
            raise ValueError(f"{path}:{number}: wanted words and (id) at the end, got {line!r:.60}")
        _refuse_many(path, number, line)
        yield number, match[2], match[1]


def _ctm(path: Path) -> Iterator[Entry]:
    words: dict[str, list[tuple[float, str]]] = {}
    first: dict[str, int] = {}
    for number, line in _lines(path):
        fields = line.split()
        _refuse_many(path, number, line)
        try:
            start = float(fields[2])
            words.setdefault(fields[0], []).append((start, fields[4]))
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}:{number}: wanted id, channel, start, duration, word; got {line!r:.60}"
            ) from None
        first.setdefault(fields[0], number)
    for name, timed in words.items():
        yield first[name], name, " ".join(word for _, word in sorted(timed, key=lambda w: w[0]))


def _refuse_many(path: Path, number: int, line: str) -> None:
    if _MANY.search(line):
        raise ValueError(
            f"{path}:{number}: alternatives {{a / b}} or <ALT> are not scored; keep the first"
        )


def _kaldi(path: Path) -> Iterator[Entry]:
    for number, line in _lines(path):
        name, *words = line.split()
        yield number, name, " ".join(words)


def _tsv(path: Path) -> Iterator[Entry]:
    columns = (0, 1)
    for k, (number, line) in enumerate(_lines(path)):
        fields = line.split("\t")
        named = next((key for key in SAID if key in fields), None)
        if k == 0 and "id" in fields and len(fields) > 1:
            if named is None:
                raise ValueError(f"{path}:{number}: columns {fields}; wanted one of {SAID}")
            columns = fields.index("id"), fields.index(named)
            continue
        if len(fields) <= max(columns):
            raise ValueError(f"{path}:{number}: wanted an id, a tab and words, got {line!r:.60}")
        yield number, fields[columns[0]], fields[columns[1]]


def _json(path: Path) -> Iterator[Entry]:
    try:
        for number, row in files.json_lines(path):
            named = next((key for key in SAID if key in row), SAID[0])
            where = f"{path}:{number}"
            yield number, files.entry(row, "id", str, where), files.entry(row, named, str, where)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None


def write(rows: list[tuple[str, str]], paths: list[Path], folder: Path, manifest: Path) -> None:
    """Write (id, words) as `folder/hyp.jsonl`, and whose they are, in place of what was there."""
    lines = [json.dumps({"id": name, "hyp": text}, ensure_ascii=False) for name, text in rows]
    (folder / "measured.json").unlink(missing_ok=True)
    facts = {"kind": "hypotheses", "source": ", ".join(map(str, paths))}
    facts |= {"weights": [files.digest(path) for path in paths], "manifest": str(manifest)}
    files.write_json(folder / "decode.json", facts)
    files.write_text(folder / "hyp.jsonl", "".join(f"{line}\n" for line in lines))
