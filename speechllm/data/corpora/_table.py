"""Published CSV tables, read strictly: the columns they are known by, each line with its place."""

import csv
from collections.abc import Iterator
from pathlib import Path

from speechllm.data.corpora._build import Faults


def read_csv(path: Path, columns: tuple[str, ...], found: Faults) -> Iterator[tuple[str, dict]]:
    """Yield (place, row) of each line; a line that lacks one of `columns` is noted and left out.

    Raises:
        ValueError: no such table, not UTF-8, a column that is not there.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such table; is this the corpus as it is published?")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lost = [name for name in columns if name not in (reader.fieldnames or ())]
            if lost:
                there = ", ".join(reader.fieldnames or ()) or "nothing"
                raise ValueError(f"{path}:1: no column {', '.join(lost)}; it has {there}")
            for row in reader:
                where = f"{path}:{reader.line_num}"
                empty = [name for name in columns if not (row[name] or "").strip()]
                if empty:
                    found.add(where, f"nothing in {', '.join(empty)}")
                else:
                    yield (
                        where,
                        {name: (value or "").strip() for name, value in row.items() if name},
                    )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
