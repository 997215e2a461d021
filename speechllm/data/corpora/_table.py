"""Published tables, read strictly: the columns they are known by, each line with its place."""

from collections.abc import Iterator
from pathlib import Path

from speechllm.data.corpora._build import Faults
from speechllm.data.corpora._lines import records


def read_table(
    path: Path, columns: tuple[str, ...], faults: Faults
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (place, row) of each line; a line that lacks one of `columns` is noted and left out.

    Raises:
        ValueError: no such table, not UTF-8, a column that is not there.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such table; is this the corpus as it is published?")
    rows = records(path, faults)
    where, header = next(rows, (f"{path}:1", []))
    if lost := [name for name in columns if name not in header]:
        there = ", ".join(filter(None, header)) or "nothing"
        raise ValueError(f"{where}: no column {', '.join(lost)}; it has {there}")
    for where, values in rows:
        row = {name: value.strip() for name, value in zip(header, values, strict=True) if name}
        if empty := [name for name in columns if not row[name]]:
            faults.add(where, f"nothing in {', '.join(empty)}")
        else:
            yield where, row
