"""ROUGE-L: the longest common subsequence of words, as captions are scored by it.

Of an utterance, precision and recall are each the best over its references, and make an F-score
that weighs recall (beta 1.2); the corpus score is their mean, in percent.

C.-Y. Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004; beta and the best of each
as in Microsoft COCO Captions, arXiv 1504.00325.
"""

from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import LCSseq

from speechllm.score.wer import BURST, LOOP_LENGTH, UNIT, tokens

__all__ = ["BURST", "LOOP_LENGTH", "UNIT", "tokens"]

NAME = "ROUGE-L"
FIELDS = ("millionths", "utterances")  # statistics are integers: an F-score of 1 is a million
LOWER_IS_BETTER = False
NORMALISER = "basic"
MANY_REFERENCES = True
REFERENCES = ("texts", "text")
SHOWN = ()
BETA = 1.2
MILLION = 1_000_000


def stats(ref: str | Sequence[str], hyp: str) -> tuple[int, int]:
    """F-score of one utterance in millionths, and 1; 0 for an empty text."""
    refs = [ref.split()] if isinstance(ref, str) else [one.split() for one in ref]
    words = hyp.split()
    common = [(LCSseq.similarity(one, words), len(one)) for one in refs if one]
    if not words or not common:
        return 0, 1
    precision = max(n for n, _ in common) / len(words)
    recall = max(n / size for n, size in common)
    if not precision:
        return 0, 1
    f = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return round(MILLION * f), 1


def score(total: Sequence[int] | np.ndarray):
    """Mean F-score in percent of a total (2,) or of many (..., 2); nan for nothing."""
    summed, utterances = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(utterances > 0, 100 * summed / MILLION / utterances, np.nan)[()]


def size(total: Sequence[int]) -> int:
    """Utterances in a total."""
    return int(total[1])


def describe(total: Sequence[int]) -> str:
    """Write a total: "4875 utterances"."""
    return f"{size(total)} utterances"
