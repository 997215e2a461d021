"""Macro F1: the mean over classes of the F-score of each, in percent, rare classes like frequent.

The classes are the different references of what is scored. An answer that is none of them is a
miss of its class and nothing more. A class that a part of the corpus neither has nor was given
does not count there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from speechllm.score.metrics._metric import Metric


@dataclass(frozen=True)
class Config(Metric):
    """Macro F1 over `classes`: of each, answers right, missed and wrongly given."""

    classes: dict[str, int] = field(default_factory=dict)  # class -> where its three counts stand

    label = "MACRO-F1"

    @property
    def fields(self) -> tuple[str, ...]:
        """Three counts a class."""
        return tuple(f"{c} {what}" for c in self.classes for what in ("right", "missed", "wrong"))

    def over(self, references: Iterable[str]) -> "Config":
        """Return this metric for the classes that occur."""
        return replace(self, classes={c: k for k, c in enumerate(sorted(set(references)))})

    def stats(self, ref: str, hyp: str) -> tuple[int, ...]:
        """Count (right, missed, wrongly given) of each class, (3 C,), for one answer."""
        index = self.classes or {ref: 0}
        counts = [0] * (3 * len(index))
        if ref == hyp:
            counts[3 * index[ref]] = 1
        else:
            counts[3 * index[ref] + 1] = 1
            if hyp in index:
                counts[3 * index[hyp] + 2] = 1
        return tuple(counts)

    def score(self, total: Sequence[int] | np.ndarray):
        """Mean F-score in percent of a total (3 C,) or of many (..., 3 C); nan for nothing."""
        total = np.asarray(total, np.float64)
        right, missed, wrong = np.moveaxis(total.reshape(*total.shape[:-1], -1, 3), -1, 0)
        every = 2 * right + missed + wrong
        with np.errstate(invalid="ignore", divide="ignore"):
            f = np.where(every > 0, 200 * right / every, 0.0)
            return (f.sum(-1) / (every > 0).sum(-1))[()]

    def size(self, total: Sequence[int]) -> int:
        """Answers in a total."""
        return int(np.asarray(total).reshape(-1, 3)[:, :2].sum())

    def describe(self, total: Sequence[int]) -> str:
        """Write a total: "10 classes, 79 answers"."""
        there = np.asarray(total).reshape(-1, 3)[:, :2].sum(1) > 0
        return f"{int(there.sum())} classes, {self.size(total)} answers"
