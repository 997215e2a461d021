"""chrF++: the F-score (beta 2) of character 1- to 6-grams and word 1- and 2-grams, in percent.

sacrebleu's, over the corpus. `--metric chrf:0` leaves the words out: chrF2.

M. Popović, chrF++: words helping character n-grams, WMT 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.score.metrics import _sacrebleu

BETA = 2  # recall counts twice as much
_COUNTS = ("hyp", "ref", "match")


@dataclass(frozen=True)
class Config(_sacrebleu.Sacrebleu):
    """chrF with word n-grams up to `word_order`: 0, 1 or 2."""

    word_order: int = 2

    check = "sacrebleu ref*.txt -i hyp.txt -m chrf --chrf-word-order 2"

    def __post_init__(self):
        if self.word_order not in (0, 1, 2):
            raise ValueError("wanted the order of word n-grams: 0, 1 or 2")

    @property
    def label(self) -> str:
        """Name as sacrebleu has it: chrF2, chrF2+ or chrF2++."""
        return "chrF2" + "+" * self.word_order

    @property
    def fields(self) -> tuple[str, ...]:
        """Three counts for each order of characters, then of words."""
        orders = [f"char{n}" for n in range(1, 7)]
        orders += [f"word{n}" for n in range(1, self.word_order + 1)]
        return tuple(f"{order}_{what}" for order in orders for what in _COUNTS)

    @property
    def peer(self):
        """sacrebleu's chrF."""
        return _sacrebleu.load("CHRF", word_order=self.word_order)

    def score(self, total: Sequence[int] | np.ndarray):
        """chrF++ in percent of a total (F,) or of many (..., F); nan without reference characters.

        Precision and recall are means over the orders that both sides have.
        """
        total = np.asarray(total, np.float64)
        hyp, ref, match = np.moveaxis(total.reshape(*total.shape[:-1], -1, 3), -1, 0)
        orders = (hyp > 0) & (ref > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            n = orders.sum(-1)
            precision = np.where(orders, match / hyp, 0).sum(-1) / n
            recall = np.where(orders, match / ref, 0).sum(-1) / n
            values = 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
        return np.where(ref[..., 0] > 0, np.nan_to_num(values), np.nan)[()]

    def describe(self, total: Sequence[int]) -> str:
        """Write a total: "9 / 11 characters", those of the reference that are matched."""
        return f"{int(total[2])} / {self.size(total)} characters"
