"""Accuracy: the share of utterances whose normalised hypothesis equals the reference, in percent.

For isolated words, digits, answers and classes. White space is not compared. An empty reference is
right only where the hypothesis is empty too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.score.formats import sclite
from speechllm.score.metrics._metric import Metric


@dataclass(frozen=True)
class Config(Metric):
    """Accuracy."""

    label = "ACC"
    fields = shown = ("correct", "wrong")
    check = sclite.COMMAND

    def stats(self, ref: str, hyp: str) -> tuple[int, int]:
        """Return (1, 0) for a right utterance, (0, 1) for a wrong one."""
        right = ref.split() == hyp.split()
        return int(right), int(not right)

    def score(self, total: Sequence[int] | np.ndarray):
        """Percent right of a total (2,) or of many (..., 2); nan for nothing."""
        right, wrong = np.moveaxis(np.asarray(total, np.float64), -1, 0)
        with np.errstate(invalid="ignore"):
            return np.where(right + wrong > 0, 100 * right / (right + wrong), np.nan)[()]

    def size(self, total: Sequence[int]) -> int:
        """Utterances in a total."""
        return int(total[0] + total[1])

    def describe(self, total: Sequence[int]) -> str:
        """Write a total: "291 / 300"."""
        return f"{int(total[0])} / {self.size(total)}"
