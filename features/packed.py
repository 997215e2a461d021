"""How frames lie in a shard: float32 as they are, or smaller.

    kind       a row of the file      error of a value
    float32    4 bytes a value        none
    bfloat16   2, its upper half      at most 2^-8 of it
    int8       1                      at most 1/254 of the largest of its column in its utterance

int8 has a scale a column. The scales are float32, so that those of an utterance fill four rows of
one byte a value; they stand before its own:

    scales (dim,) float32 = (4, dim) int8, then (T, dim) int8: T + 4 rows of the file
"""

from __future__ import annotations

import numpy as np

DTYPES = {"float32": "<f4", "bfloat16": "<u2", "int8": "|i1"}
SCALE_ROWS = 4  # bytes of a float32
LARGEST = 127


def check(kind: str) -> str:
    """Give the numpy type of a kind; ValueError where there is none of that name."""
    if kind not in DTYPES:
        raise ValueError(f"dtype={kind!r}: wanted one of {', '.join(DTYPES)}")
    return DTYPES[kind]


def pack(x: np.ndarray, kind: str) -> np.ndarray:
    """Frames (T, dim) float32 to rows of the file."""
    x = np.ascontiguousarray(x, "<f4")
    if kind == "float32":
        return x
    if kind == "bfloat16":
        bits = x.view("<u4")
        # to the nearest, and of two equally near ones to the even one, as processors do
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    scales = np.abs(x).max(0) / np.float32(LARGEST)
    steps = np.rint(x / np.where(scales > 0, scales, 1)).astype("|i1")
    return np.concatenate([scales.astype("<f4").view("|i1").reshape(SCALE_ROWS, -1), steps])


def unpack(rows: np.ndarray, kind: str) -> np.ndarray:
    """Rows of the file to frames (T, dim) float32: a view of them where they are float32."""
    if kind == "float32":
        return rows
    if kind == "bfloat16":
        return (rows.astype("<u4") << 16).view("<f4")
    scales = np.ascontiguousarray(rows[:SCALE_ROWS]).reshape(-1).view("<f4")
    return rows[SCALE_ROWS:].astype("<f4") * scales
