"""Lines of text files and of tables, read strictly: whatever stands there, a place names it.

Tables are TSV (no quotes but around a whole value) or CSV. A CSV's quote may hold line ends; one
that never closes would swallow the rows behind it, so a record that fails is given up alone and
reading goes on in its next line: no row is lost unnamed.
"""

import csv
import gzip
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechllm import files
from speechllm.data.corpora._build import Faults

LONGEST = 100  # lines of one record, more than any quoted value of a corpus has
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".sph", ".webm", ".aac")
MOST = 1e9  # seconds, or whatever a list counts
NEVER = "a quote that never closes: close it, or remove it"


def read_lines(path: Path) -> list[tuple[str, str]]:
    """(place, line) of each line with something in it. Raises ValueError if it is not UTF-8."""
    # Not `splitlines`, which also cuts at separators that may stand inside a text.
    lines = enumerate(_text(path).split("\n"), start=1)
    return [(f"{path}:{number}", line.rstrip("\r")) for number, line in lines if line.strip()]


def _text(path: Path) -> str:
    """The text of a UTF-8 file, with or without byte order mark; CR alone ends lines, too.

    Raises:
        ValueError: another encoding, with the line.
    """
    data = path.read_bytes()
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if wide or data[:1000].count(b"\0") > len(data[:1000]) // 4:
        hint = "save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"
        raise ValueError(f"{path}: not UTF-8 but, it seems, UTF-16; {hint}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "save it as UTF-8 (of Western Windows: iconv -f CP1252 -t UTF-8)"
        raise ValueError(f"{path}:{line}: not UTF-8 (byte {error.start}); {hint}") from None
    return text if "\n" in text else text.replace("\r", "\n")


def records(path: Path, faults: Faults, quotes: bool = True) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, values) of a table: first its header, then each row that has as many values.

    Rows that have not, and records that are none, are noted. `quotes`: of a TSV, those around a
    whole value are none of it.

    Raises:
        ValueError: not UTF-8, two columns of one name.
    """
    rows = _csv(path, faults) if path.suffix.lower() == ".csv" else _tsv(path, quotes)
    header: list[str] | None = None
    for where, values in rows:
        if header is None:
            header = [name.strip() for name in values]
            twice = [name for name, n in Counter(header).items() if name and n > 1]
            if twice:
                raise ValueError(f"{where}: two columns called {twice[0]!r}; rename one of them")
            yield where, header
        elif len(values) != len(header):
            faults.add(where, f"{len(values)} columns, but the first line has {len(header)}")
        elif any("\0" in value for value in values):
            faults.add(where, "a NUL byte; was the file cut off while it was written?")
        else:
            yield where, values


def _tsv(path: Path, quotes: bool) -> Iterator[tuple[str, list[str]]]:
    # Not by `csv`: a sentence of Common Voice may begin with a quote that never closes.
    for where, line in read_lines(path):
        values = line.split("\t")
        yield where, [_unquote(value) for value in values] if quotes else values


def _unquote(value: str) -> str:
    inner = value[1:-1].replace('""', "")
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner
    return value[1:-1].replace('""', '"') if quoted else value


def _csv(path: Path, faults: Faults) -> Iterator[tuple[str, list[str]]]:
    lines = _text(path).split("\n")
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    at, begun = 0, False
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        where = f"{path}:{at + 1}"
        try:
            values, n_lines = _record(lines[at : at + LONGEST], delimiter)
        except ValueError as error:
            if not begun:  # without its header no row can be read
                raise ValueError(f"{where}: {error}") from None
            faults.add(where, str(error))
            values, n_lines = None, 1
        if values is not None:
            begun = True
            yield where, values
        at += n_lines


def _record(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """Values of the record that begins the lines, and how many of these it takes.

    Raises:
        ValueError: a quote that does not close, or closes in what looks like a row of its own.
    """
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        values = next(reader)
    except csv.Error as error:
        several = reader.line_num > 1 or "unexpected end" in str(error)
        raise ValueError(NEVER if several else f"not CSV: {error}") from None
    n = reader.line_num
    if any(_is_like(values, line.split(delimiter)) for line in lines[1:n]):
        raise ValueError(f"{NEVER} (it closes {n - 1} lines on, over what look like rows)")
    return values, n


def _is_like(record: list[str], row: list[str]) -> bool:
    """Whether a line inside a quote is a row: as many values, files where there are files."""
    if len(row) < len(record):
        return False
    endings = [os.path.splitext(value.strip())[1].lower() for value in record]
    files = [k for k, ending in enumerate(endings) if ending in SOUNDS]
    return bool(files) and all(row[k].strip().lower().endswith(endings[k]) for k in files)


def json_lines(path: Path, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, object) of each line of a JSON Lines file, `.gz` too; what is none is noted.

    Raises:
        ValueError: the file is cut, or no gzip.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.removeprefix(files.BOM).strip():
                    continue
                try:
                    value = files.expect(files.parse(line), dict, "this line")
                except ValueError as error:
                    faults.add(f"{path}:{number}", str(error))
                    continue
                yield f"{path}:{number}", value
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: no whole gzip file after line {number} ({error}); fetch it again"
        ) from None


def wanted(row: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """Take a value of a row, `default` where it is absent or null.

    Raises:
        ValueError: it is of another kind, or a number beyond all measure; names the key.
    """
    value = row.get(key)
    most = MOST if kind in (int, float) else None
    least = None if most is None else -most
    return default if value is None else files.expect(value, kind, repr(key), least, most)
