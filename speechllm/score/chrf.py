"""chrF++: the F-score (beta 2) of character 1- to 6-grams and word 1- and 2-grams, in percent.

sacrebleu's, over the corpus. `--metric chrf:0` leaves the words out: chrF2.

M. Popović, chrF++: words helping character n-grams, WMT 2017.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from types import SimpleNamespace

import numpy as np

from speechllm.score import _sacrebleu
from speechllm.score._sacrebleu import plain_files
from speechllm.score.wer import BURST, LOOP_LENGTH, UNIT, tokens

__all__ = ["BURST", "LOOP_LENGTH", "UNIT", "plain_files", "tokens"]

NAME = "chrF2++"
BETA = 2  # recall counts twice as much
_COUNTS = ("hyp", "ref", "match")
CHARACTER_FIELDS = tuple(f"char{n}_{what}" for n in range(1, 7) for what in _COUNTS)
WORD_FIELDS = tuple(f"word{n}_{what}" for n in (1, 2) for what in _COUNTS)
FIELDS = CHARACTER_FIELDS + WORD_FIELDS
LOWER_IS_BETTER = False
NORMALISER = "none"
MANY_REFERENCES = True
REFERENCES = ("translations", "translation", "texts", "text")
SHOWN = ()  # of the fields, in tables
CHECK = "sacrebleu ref*.txt -i hyp.txt -m chrf --chrf-word-order 2"


@lru_cache
def _metric(word_order: int = 2):
    return _sacrebleu.load("CHRF", word_order=word_order)


def with_option(word_order: str) -> SimpleNamespace:
    """Return this metric with word n-grams up to 0, 1 or 2.

    Raises:
        ValueError: another number.
    """
    if word_order not in ("0", "1", "2"):
        raise ValueError(f"chrf:{word_order}: wanted the order of word n-grams: 0, 1 or 2")
    metric, order = _metric(int(word_order)), int(word_order)
    bound = {f.__name__: partial(f, metric=metric) for f in (stats, signature)}
    fields = CHARACTER_FIELDS + WORD_FIELDS[: 3 * order]
    return SimpleNamespace(
        **{**globals(), **bound, "NAME": "chrF2" + "+" * order, "FIELDS": fields}
    )


def stats(ref: str | Sequence[str], hyp: str, metric=None) -> tuple[int, ...]:
    """For each order its n-grams of hypothesis and reference, and those that match; (24,)."""
    return _sacrebleu.stats(metric or _metric(), ref, hyp)


def score(total: Sequence[int] | np.ndarray):
    """chrF++ in percent of a total (24,) or of many (..., 24); nan without reference characters.

    Precision and recall are means over the orders that both sides have.
    """
    total = np.asarray(total, np.float64)
    hyp, ref, match = np.moveaxis(total.reshape(*total.shape[:-1], -1, 3), -1, 0)
    orders = (hyp > 0) & (ref > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        n = orders.sum(-1)
        precision = np.where(orders, match / hyp, 0).sum(-1) / n
        recall = np.where(orders, match / ref, 0).sum(-1) / n
        found = 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
    return np.where(ref[..., 0] > 0, np.nan_to_num(found), np.nan)[()]


def size(total: Sequence[int]) -> int:
    """Reference characters in a total: of several references, of the best one."""
    return int(total[1])


def describe(total: Sequence[int]) -> str:
    """Write a total: "9 / 11 characters", those of the reference that are matched."""
    return f"{int(total[2])} / {size(total)} characters"


def signature(n_refs: int, metric=None) -> str:
    """Write sacrebleu's signature."""
    return _sacrebleu.signature(metric or _metric(), n_refs)
