"""Word error rate: (S + D + I) / reference words, over the corpus, in percent.

Words are what stands between white space. See `_edit.py` for which alignment is counted and how it
relates to sclite and jiwer. An **empty reference** has no words to miss: each word of its
hypothesis is an insertion and counts, the utterance adds nothing to the denominator. An **empty
hypothesis** deletes each word of its reference. With no reference word at all the rate is
undefined (nan), and printed so.
"""

from collections.abc import Sequence

import numpy as np

from speechllm.score import _edit

NAME = "WER"
FIELDS = ("correct", "sub", "del", "ins")
LOWER_IS_BETTER = True
UNIT = "word"
LOOP_LENGTH = 8  # an n-gram of up to so many tokens that repeats is a loop
BURST = 5  # so many insertions in a row are a burst


def tokens(text: str) -> list[str]:
    """Split a normalised text into words."""
    return text.split()


def stats(ref: str, hyp: str) -> tuple[int, int, int, int]:
    """Count (correct, substitutions, deletions, insertions) of one utterance."""
    return _edit.counts(ref.split(), hyp.split())


def score(total: Sequence[int] | np.ndarray):
    """Error rate in percent of a total (4,) or of many (..., 4); nan without reference tokens."""
    correct, sub, deleted, inserted = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    words = correct + sub + deleted
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(words > 0, 100 * (sub + deleted + inserted) / words, np.nan)[()]


def size(total: Sequence[int]) -> int:
    """Reference tokens in a total."""
    return int(total[0] + total[1] + total[2])


def describe(total: Sequence[int]) -> str:
    """Write a total in Kaldi's form: "1903 / 52576, 210 ins, 301 del, 1392 sub"."""
    _, sub, deleted, inserted = (int(x) for x in total)
    errors = sub + deleted + inserted
    return f"{errors} / {size(total)}, {inserted} ins, {deleted} del, {sub} sub"
