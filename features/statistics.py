"""Mean and deviation of a corpus in a file, for `cmvn = "global"`: numbers alone, without torch."""

from __future__ import annotations

import json
import math
from pathlib import Path


def write(path, seen, **about) -> None:
    """Write mean and deviation, with what they are of, as the JSON that `read` reads.

    `seen` is a `normalise.Statistics`.
    """
    rows = {"mean": seen.mean.tolist(), "deviation": seen.deviation.tolist()}
    text = json.dumps({**about, "frames": seen.count, **rows}, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read(source) -> tuple[tuple[float, ...], ...]:
    """Mean and deviation per column: two rows of numbers as they are, or those of a file.

    Raises ValueError where there are none, or a deviation is not above 0.
    """
    where, rows = "stats", source
    if isinstance(source, (str, Path)):
        where = str(source)
        try:
            about = json.loads(Path(source).read_text(encoding="utf-8"))
            rows = [about["mean"], about["deviation"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{where}: no statistics can be read ({type(error).__name__}: {error}); "
                "`features stats` writes such files"
            ) from None
    try:
        mean, deviation = (tuple(float(value) for value in row) for row in rows)
        good = len(mean) == len(deviation) and min(deviation) > 0
        good = good and all(math.isfinite(value) for value in (*mean, *deviation))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"{where}: wanted two rows of as many finite numbers, mean and deviation above 0; "
            "`features stats` writes them"
        )
    return mean, deviation
