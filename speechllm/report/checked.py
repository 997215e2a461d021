"""The files of an experiment as they are read: numbers are numbers, texts are texts.

Whatever a report computes with, compares or formats is checked here, once, and answered with the
file and the place; all else it shows as text.
"""

from pathlib import Path

from speechllm import files

AGAIN = "run the step that writes it again"
NUMBER = (float, type(None))
MOST = 1e15  # no number of a report is beyond that, and no picture could show it
# What a report relies on: place in the file -> kind. What is absent is absent.
RUN = {
    "command": str,
    "seconds": float,
    "peak_memory_mb": float,
    "rtfx": NUMBER,
    "audio_s": float,
    "energy_j": float,
    "tflop": float,
    "mfu": float,
    "versions": dict,
    "options": dict,
    "notices": list,
}
SCORE = {"line": str, "metric": str, "signature": str, "value": NUMBER}
SCORE |= {"counts": dict, "context": dict}
ROW = {"name": str, "value": NUMBER, "size": int, "constant": NUMBER}
COUNTED = ("rows", "decoded", "missing")  # of the counts, those that are computed with
LOG = {"step": int, "valid": dict, "health": dict}
PAIRED = {key: NUMBER for key in ("a", "b", "difference", "low", "high", "p", "p_ar")}
PAIRED |= {"metric": str, "against": str}


def run(path: Path) -> dict:
    """Read what train or decode wrote of itself; {} where nothing is.

    Raises:
        ValueError: it is not what they write.
    """
    return _entries(_read(path), RUN, str(path))


def score(path: Path) -> dict:
    """Read a score.json.

    Raises:
        ValueError: it is not what `speechllm score` writes.
    """
    values = _read(path)
    if "line" not in values:
        raise ValueError(f"{path}: has no 'line'; write it anew with speechllm score")
    _entries(values, SCORE, str(path))
    span = files.expect(values.get("ci95", [None, None]), list, f"{path}: 'ci95'")
    if len(span) != 2:
        raise ValueError(f"{path}: 'ci95' wants two numbers, got {len(span)}")
    for value in span:
        _expect(value, NUMBER, f"{path}: 'ci95'")
    counts = values.get("counts", {})
    if any(not isinstance(counts.get(key, 0), int) for key in COUNTED):
        values["counts"] = {key: n for key, n in counts.items() if key not in COUNTED[:2]}
    values["warnings"] = [str(text) for text in _list(values.get("warnings"), path, "warnings")]
    values["tables"] = _tables(values.get("tables") or {}, str(path))
    return values


def paired(path: Path) -> dict:
    """Read the result of a paired test.

    Raises:
        ValueError: it is not what `speechllm score --against` writes.
    """
    values = _read(path)
    for key in PAIRED:
        _expect(files.entry(values, key, PAIRED[key], str(path)), PAIRED[key], f"{path}: {key!r}")
    return values


def following(path: Path) -> list[dict]:
    """Read a following.json.

    Raises:
        ValueError: it is not what `speechllm following` writes.
    """
    entries = files.read_json(path, list)
    for number, one in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        files.expect(one, dict, where)
        for key, kind in (("kind", str), ("rate", float), ("interval", list), ("given", dict)):
            _expect(files.entry(one, key, kind, where), kind, f"{where}: {key!r}")
        if len(one["interval"]) != 2:
            raise ValueError(f"{where}: 'interval' wants two numbers")
        for value in one["interval"]:
            _expect(value, float, f"{where}: 'interval'")
    return entries


def log(path: Path) -> tuple[dict, ...]:
    """Read a log; a last line cut short (the run is still writing) is left out.

    Raises:
        ValueError: another line is not what train writes.
    """
    if not path.is_file():
        return ()
    try:
        return tuple(
            _line(row, f"{path}:{number}") for number, row in files.json_lines(path, cut=True)
        )
    except ValueError as error:
        raise ValueError(f"{error}; remove the line") from None


def _line(row: dict, where: str) -> dict:
    _entries(row, LOG, where)
    files.expect(row.get("step", 0), int, f"{where}: 'step'", low=0)
    return row


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return files.read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}; {AGAIN}") from None


def _entries(values: dict, kinds: dict, where: str) -> dict:
    """Check what is there; null where it is no value is as if it were not there."""
    for key, kind in kinds.items():
        if values.get(key, "") is None and kind is not NUMBER:
            del values[key]
        if key in values:
            _expect(values[key], kind, f"{where}: {key!r}")
    return values


def _expect(value, kind, where: str) -> None:
    """Check kind and, of a number, size."""
    files.expect(value, kind, where)
    if isinstance(value, int | float):
        files.expect(value, float, where, -MOST, MOST)


def _tables(tables: dict, where: str) -> dict[str, list[dict]]:
    files.expect(tables, dict, f"{where}: 'tables'")
    for name, rows in tables.items():
        for row in files.expect(rows, list, f"{where}: table {name!r:.40}"):
            place = f"{where}: table {name!r:.40}"
            files.expect(row, dict, place)
            for key in ("name", "value", "size"):
                _expect(files.entry(row, key, ROW[key], place), ROW[key], place)
            _entries(row, ROW, place)
    return tables


def _list(value, path: Path, key: str) -> list:
    return [] if value is None else files.expect(value, list, f"{path}: {key!r}")
