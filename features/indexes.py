"""What the JSON files of a stored set hold, each kind checked; damage is named by file."""

from __future__ import annotations

import json
from pathlib import Path

from features import packed


def about(folder: Path) -> dict:
    """What a set says of itself: `preset`, a name, `options`, by name, `dtype` of its rows.

    Raises ValueError where it is damaged.
    """
    path = Path(folder) / "preset.json"
    found = read(path, {"preset": str, "options": dict})
    dtype = found.setdefault("dtype", "float32")
    if not isinstance(dtype, str) or dtype not in packed.DTYPES:
        wanted = ", ".join(packed.DTYPES)
        raise ValueError(f"{path}: damaged ('dtype': none of {wanted}); {repair(path)}")
    return found


def index(path: Path, framed: bool = False) -> dict:
    """Index of a shard: `ids`, `rows` and `valid` of each utterance, `crc32`, and perhaps `of`.

    An id is None where the utterance was forgotten; `of` says what each was made of (requests.py),
    None where nobody knows. `framed`: a row is a frame, so that `valid` is at most `rows`. Raises
    ValueError where it is damaged.
    """
    fields = read(path, {"ids": list, "rows": list, "valid": list, "crc32": int})
    ids, rows, valid = (fields[name] for name in ("ids", "rows", "valid"))
    fields["of"] = requests = fields.get("of") or [None] * len(ids)
    sound = (
        isinstance(requests, list)
        and len(ids) == len(rows) == len(valid) == len(requests)
        and all(id is None or isinstance(id, str) for id in ids)
        and all(map(_is_count, (*rows, *valid)))
        and (not framed or all(v <= n for v, n in zip(valid, rows, strict=True)))
        and all(one is None or is_request(one) for one in requests)
    )
    if not sound:
        raise ValueError(f"{path}: damaged (ids, rows, valid, of: no index); {repair(path)}")
    return fields


def is_request(value) -> bool:
    """Whether a value read from an index has the form of a request (requests.py)."""
    if not isinstance(value, list) or len(value) != 6 or not isinstance(value[0], str):
        return False
    _, size, changed, start, duration, channel = value
    return (
        all(one is None or _is_count(one) for one in (size, channel))
        and type(changed) in (int, type(None))
        and _is_seconds(start)
        and (duration is None or _is_seconds(duration))
    )


def _is_count(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_seconds(value) -> bool:
    return type(value) in (int, float) and 0 <= value < 2**53


def read(path: Path, kinds: dict[str, type]) -> dict:
    """A JSON object with at least these keys, of these kinds; ValueError when it is damaged."""
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error}); {repair(path)}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: damaged (no object {{...}}); {repair(path)}")
    for key, kind in kinds.items():
        if type(fields.get(key)) is not kind:
            raise ValueError(f"{path}: damaged ({key!r}: no {kind.__name__}); {repair(path)}")
    return fields


def repair(path: Path) -> str:
    """What to do about a damaged file of a set."""
    return f"remove {path.stem}.* there and run the same `features extract` again"
