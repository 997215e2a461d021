"""Word error rate: (S + D + I) / reference words, over the corpus, in percent.

Words are what stands between white space. See `edit.py` for which alignment is counted and how it
relates to sclite and jiwer. An **empty reference** has no words to miss: each word of its
hypothesis is an insertion and counts, the utterance adds nothing to the denominator. An **empty
hypothesis** deletes each word of its reference. With no reference word at all the rate is
undefined (nan), and printed so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.score import edit
from speechllm.score.formats import sclite
from speechllm.score.metrics._metric import Metric


@dataclass(frozen=True)
class Config(Metric):
    """Word error rate."""

    label = "WER"
    fields = shown = ("correct", "sub", "del", "ins")
    lower_is_better = True
    check = sclite.COMMAND

    def stats(self, ref: str, hyp: str) -> tuple[int, int, int, int]:
        """Count (correct, substitutions, deletions, insertions) of one utterance."""
        return edit.counts(ref.split(), hyp.split())

    def score(self, total: Sequence[int] | np.ndarray):
        """Error rate in percent of a total (4,) or of many (..., 4); nan without references."""
        correct, sub, deleted, inserted = np.moveaxis(np.asarray(total, np.float64), -1, 0)
        words = correct + sub + deleted
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(words > 0, 100 * (sub + deleted + inserted) / words, np.nan)[()]

    def size(self, total: Sequence[int]) -> int:
        """Reference tokens in a total."""
        return int(total[0] + total[1] + total[2])

    def describe(self, total: Sequence[int]) -> str:
        """Write a total in Kaldi's form: "1903 / 52576, 210 ins, 301 del, 1392 sub"."""
        _, sub, deleted, inserted = (int(x) for x in total)
        errors = sub + deleted + inserted
        return f"{errors} / {self.size(total)}, {inserted} ins, {deleted} del, {sub} sub"
