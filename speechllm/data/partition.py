"""Manifests cut into disjoint parts, and joined to one.

    split("all.jsonl", {"dev": "100", "test": "5%", "train": "rest"}, "data", by="speaker")
    join(["a.jsonl", "b.jsonl"], "both.jsonl")

A size is a share ("0.05", "5%", "1/20"), a number of examples ("100"), or "rest", what all others
leave. With `by`, examples of one value (a speaker, a file) stay together: a number is then one of
such groups, and a share is met as nearly as they allow. What is drawn depends on the seed and the
manifest alone; rows keep their order, and paths lead from the new manifest to the same files.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from speechllm.data import manifest
from speechllm.data.manifest import Manifest

REST = "rest"


def split(
    path: str | Path, parts: dict[str, str], out: str | Path, by: str = "", seed: int = 0
) -> dict[str, tuple[Path, int]]:
    """Write `out/NAME.jsonl` for each part; their paths and numbers of examples, by name.

    Raises:
        ValueError: sizes that make no sense or are too large, a row without the key `by`, a part
            that would be empty, or would be written over the manifest itself.
    """
    rows, out = Manifest(path), Path(out)
    paths = {name: out / f"{name}.jsonl" for name in parts}
    for name, one in paths.items():
        if not name or Path(name).name != name:
            raise ValueError(f"a part called {name!r}; wanted a name that a file may have")
        if one.resolve() == rows.path.resolve():
            raise ValueError(f"the part {name!r} would be written over {path}; give another --out")
    groups = _groups(rows, by)
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = _deal([groups[i] for i in order], parts, len(rows), by)
    if empty := [name for name, lines in chosen.items() if not lines]:
        raise ValueError(f"{path}: nothing is left for {', '.join(empty)}")
    return {name: (paths[name], _write(paths[name], rows, lines)) for name, lines in chosen.items()}


def _write(path: Path, rows: Manifest, lines: list[int]) -> int:
    return manifest.write(path, (rows[i] for i in sorted(lines)))


def _groups(rows: Manifest, by: str) -> list[list[int]]:
    """Positions that stay together, in order of their first ones."""
    if not by:
        return [[i] for i in range(len(rows))]
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.get(by) is None:
            raise ValueError(
                f"{rows.path}:{rows.line(i)}: {row['id']!r} has no {by!r}; write it, or leave out "
                "--by"
            )
        groups.setdefault(json.dumps(row[by], sort_keys=True), []).append(i)
    return list(groups.values())


def _deal(
    groups: list[list[int]], parts: dict[str, str], n_rows: int, by: str
) -> dict[str, list[int]]:
    """Give each part its groups: numbers first, then shares, then the rest."""
    sizes = {name: _size(name, text) for name, text in parts.items()}
    _check(sizes, len(groups), f"groups of one {by!r}" if by else "examples")
    chosen: dict[str, list[int]] = {name: [] for name in parts}
    at = 0
    for name, size in sizes.items():
        if isinstance(size, int):
            chosen[name] = list(itertools.chain.from_iterable(groups[at : at + size]))
            at += size
    lacking = {name: size * n_rows for name, size in sizes.items() if isinstance(size, Fraction)}
    left = [name for name, size in sizes.items() if size is None]
    for group in groups[at:]:
        # Where most is lacking, as long as at least half of the group is.
        name = max(lacking, key=lambda one: lacking[one], default=None)
        if name is not None and lacking[name] >= Fraction(len(group), 2):
            lacking[name] -= len(group)
            chosen[name] += group
        elif left:
            chosen[left[0]] += group
    return chosen


def _size(name: str, text: str) -> int | Fraction | None:
    """A number of groups, a share of the rows, or None for the rest."""
    if text == REST:
        return None
    try:
        percent = text.endswith("%")
        size = Fraction(text.removesuffix("%")) / (100 if percent else 1)
    except (ValueError, ZeroDivisionError):
        size = Fraction(0)
    is_number = text.isascii() and text.isdigit()
    if size <= 0 or (size > 1 and not is_number):
        raise ValueError(
            f"{name}={text}: wanted a share (0.05, 5%, 1/20), a number of 1 or more, or {REST}"
        )
    return int(text) if is_number else size


def _check(sizes: dict[str, int | Fraction | None], n_groups: int, what: str) -> None:
    """Refuse parts that cannot all be had. Raises ValueError."""
    numbers = sum(size for size in sizes.values() if isinstance(size, int))
    shares = sum(size for size in sizes.values() if isinstance(size, Fraction))
    if list(sizes.values()).count(None) > 1:
        raise ValueError(f"two parts of the {REST}; give the others a share or a number")
    if not sizes or shares > 1 or numbers > n_groups:
        raise ValueError(f"wanted {numbers} and {float(shares):.0%} of {n_groups} {what}")


def join(paths: Sequence[str | Path], out: str | Path, prefix: bool = False) -> int:
    """Write the rows of several manifests as one, in their order; how many there are.

    prefix: put the name of its manifest before each id, as "dev-17".

    Raises:
        ValueError: an id that stands in two of them, with both places; a name that two have.
    """
    opened = [Manifest(path) for path in paths]
    if any(one.path.resolve() == Path(out).resolve() for one in opened):
        raise ValueError(f"{out} is one of those to be joined; give another --out")
    names = [one.path.stem for one in opened]
    if prefix and len(set(names)) < len(names):
        raise ValueError("two manifests of one name; their ids would not be told apart")
    if not prefix:
        _refuse_shared(opened)
    return manifest.write(out, _rows(opened, prefix))


def _rows(opened: list[Manifest], prefix: bool) -> Iterator[dict[str, Any]]:
    for one in opened:
        for row in one:
            yield row | {"id": f"{one.path.stem}-{row['id']}"} if prefix else row


def _refuse_shared(opened: list[Manifest]) -> None:
    """Name an id of two manifests, and where it stands. Raises ValueError."""
    for i, one in enumerate(opened):
        for other in opened[i + 1 :]:
            for id in one.shared(other):
                places = (f"{m.path}:{m.line(m.find(id))}" for m in (one, other))
                raise ValueError(
                    f"the id {id!r} stands at {' and '.join(places)}; ids must differ: "
                    "join with --prefix, or leave one out"
                )
