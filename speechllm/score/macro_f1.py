"""Macro F1: the mean over classes of the F-score of each, in percent, rare classes like frequent.

The classes are the different references of what is scored. An answer that is none of them is a
miss of its class and nothing more. A class that a part of the corpus neither has nor was given
does not count there.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from types import SimpleNamespace

import numpy as np

from speechllm.score.wer import BURST, LOOP_LENGTH, UNIT, tokens

__all__ = ["BURST", "LOOP_LENGTH", "UNIT", "tokens"]

NAME = "MACRO-F1"
FIELDS = ()
LOWER_IS_BETTER = False
SHOWN = ()  # of the fields, in tables


def over(classes: Iterable[str]) -> SimpleNamespace:
    """Return this metric for these classes: of each, answers right, missed and wrongly given."""
    classes = sorted(set(classes))
    fields = tuple(f"{name} {what}" for name in classes for what in ("right", "missed", "wrong"))
    index = {name: i for i, name in enumerate(classes)}
    return SimpleNamespace(**{**globals(), "FIELDS": fields, "stats": partial(stats, index=index)})


def stats(ref: str, hyp: str, index: dict[str, int] | None = None) -> tuple[int, ...]:
    """Count (right, missed, wrongly given) of each class, (3 C,), for one answer."""
    index = {ref: 0} if index is None else index
    counts = np.zeros((len(index), 3), np.int64)
    if ref == hyp:
        counts[index[ref], 0] = 1
    else:
        counts[index[ref], 1] = 1
        if hyp in index:
            counts[index[hyp], 2] = 1
    return tuple(counts.ravel().tolist())


def score(total: Sequence[int] | np.ndarray):
    """Mean F-score in percent of a total (3 C,) or of many (..., 3 C); nan for nothing."""
    total = np.asarray(total, np.float64)
    right, missed, wrong = np.moveaxis(total.reshape(*total.shape[:-1], -1, 3), -1, 0)
    every = 2 * right + missed + wrong
    with np.errstate(invalid="ignore", divide="ignore"):
        f = np.where(every > 0, 200 * right / every, 0.0)
        return (f.sum(-1) / (every > 0).sum(-1))[()]


def size(total: Sequence[int]) -> int:
    """Answers in a total."""
    return int(np.asarray(total).reshape(-1, 3)[:, :2].sum())


def describe(total: Sequence[int]) -> str:
    """Write a total: "10 classes, 79 answers"."""
    there = np.asarray(total).reshape(-1, 3)[:, :2].sum(1) > 0
    return f"{int(there.sum())} classes, {size(total)} answers"
