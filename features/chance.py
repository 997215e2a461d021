"""What augmentations share: chance from a generator, batches with lengths, rest in evaluation."""

from __future__ import annotations

import functools

import numpy as np


def of_batches(function):
    """Let a function of one item also take a batch with `lengths`, and rest in evaluation."""

    @functools.wraps(function)
    def call(x, *args, lengths=None, training: bool = True, **options):
        if not training:
            return x if lengths is None else (x, lengths)
        if lengths is None:
            return function(x, *args, **options)
        return _batch(function, x, lengths, args, options)

    return call


def _batch(function, x, lengths, args: tuple, options: dict):
    """Each item's valid part through the function: (B, N', ...) padded with zeros, and lengths."""
    counts = [int(n) for n in lengths]
    if len(counts) != len(x) or min(counts, default=0) < 0 or max(counts, default=0) > x.shape[1]:
        raise ValueError(
            f"wanted {len(x)} lengths in 0..{x.shape[1]} for shape {tuple(x.shape)}, got {counts}"
        )
    items = [
        function(x[i, :n], *own, **dict(zip(options, named, strict=True)))
        for i, (n, own, named) in enumerate(
            zip(counts, _each(args, len(x)), _each(options.values(), len(x)), strict=True)
        )
    ]
    sizes = [len(item) for item in items]
    y = _zeros(x, x.shape[1] if sizes == counts else max(sizes))
    for row, item in zip(y, items, strict=True):
        row[: len(item)] = item
    if hasattr(lengths, "new_tensor"):
        return y, lengths.new_tensor(sizes)
    return y, np.array(sizes, dtype=np.int64)


def _each(values, n: int) -> list[tuple]:
    """`n` times the values, generators spawned."""
    spread = [v.spawn(n) if isinstance(v, np.random.Generator) else [v] * n for v in values]
    return list(zip(*spread, strict=True)) if spread else [()] * n


def _zeros(x, width: int):
    shape = (len(x), width, *x.shape[2:])
    return x.new_zeros(shape) if hasattr(x, "new_zeros") else np.zeros(shape, x.dtype)


def between(value, rng: np.random.Generator | None, name: str) -> float:
    """A number as it is, or one drawn between two."""
    if np.ndim(value) == 0:
        return float(value)
    return float(_needed(rng, name).uniform(*value))


def one_of(value, rng: np.random.Generator | None, name: str):
    """A number, word or array as it is, or one drawn of a sequence of them."""
    if np.isscalar(value) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return value
    if not len(value):
        raise ValueError(f"{name}: an empty list; wanted at least one to choose from")
    return value[int(_needed(rng, name).integers(len(value)))]


def _needed(rng: np.random.Generator | None, name: str) -> np.random.Generator:
    if rng is None:
        raise ValueError(
            f"{name} is to be drawn; give a generator: rng=numpy.random.default_rng(0)"
        )
    return rng
