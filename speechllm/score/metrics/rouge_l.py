"""ROUGE-L: the longest common subsequence of words, as captions are scored by it.

Of an utterance, precision and recall are each the best over its references, and make an F-score
that weighs recall (beta 1.2); the corpus score is their mean, in percent.

C.-Y. Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004; beta and the best of each
as in Microsoft COCO Captions, arXiv 1504.00325.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

from speechllm.score.metrics._metric import MILLION, Millionths

BETA = 1.2


@dataclass(frozen=True)
class Config(Millionths):
    """ROUGE-L."""

    label = "ROUGE-L"
    normaliser = "basic"
    many_references = True
    references = ("texts", "text")

    def stats(self, ref: str | Sequence[str], hyp: str) -> tuple[int, int]:
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
