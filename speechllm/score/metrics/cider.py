"""CIDEr-D: n-grams that people's descriptions share, rare ones weighing more.

Each text is a vector of its n-grams (n of 1 to 4), by number and by the logarithm of how few
utterances have them in a reference. The score of an utterance is the mean over n and over its
references of the cosine, where no n-gram counts more often than in the reference, times a Gaussian
penalty of the difference in length; the corpus score is the mean, in percent of CIDEr-D's own unit
(0.78 in papers is 78 here). How rare an n-gram is depends on all references, so a part of a corpus
is scored with the weights of the whole.

R. Vedantam et al., CIDEr: Consensus-based Image Description Evaluation, arXiv 1411.5726. Numbers
are those of the COCO caption evaluation on texts normalised as ours are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from speechllm.score.metrics._metric import MILLION, Millionths

ORDER = 4
SIGMA = 6.0  # of the penalty, in words
SCALE = 10.0  # CIDEr-D's unit: ten times the mean similarity


@dataclass(frozen=True)
class Config(Millionths):
    """CIDEr-D."""

    label = "CIDEr-D"
    normaliser = "basic"
    many_references = True
    references = ("texts", "text")

    def stats(self, ref: str | Sequence[str], hyp: str) -> tuple[int, int]:
        """Millionths of an utterance that is a corpus by itself, where no n-gram weighs a thing."""
        refs = [ref] if isinstance(ref, str) else list(ref)
        return next(self.all_stats([], [(refs, hyp)]))

    def all_stats(self, utterances, texts: Sequence) -> Iterator[tuple[int, int]]:
        """Score each utterance, given as (references, hypothesis), in millionths; and 1."""
        references = [[_ngrams(ref) for ref in refs] for refs, _ in texts]
        seen = Counter(gram for refs in references for gram in set().union(*refs))
        weights = {gram: log(len(texts)) - log(number) for gram, number in seen.items()}
        most = log(max(len(texts), 1))  # of an n-gram that no reference has
        for refs, (_, hyp) in zip(references, texts, strict=True):
            heard = _Vector(_ngrams(hyp), weights, most)
            wanted = [_Vector(ref, weights, most) for ref in refs]
            mean = sum(heard.similarity(one) for one in wanted) / max(len(wanted), 1)
            yield round(SCALE * mean * MILLION), 1


def _ngrams(text: str) -> Counter:
    words = text.split()
    return Counter(
        tuple(words[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(words) - n + 1)
    )


class _Vector:
    """The weighted n-grams of a text, apart by n, their norms, and its length in bigrams."""

    def __init__(self, grams: Counter, weights: dict, most: float):
        self.parts: list[dict] = [{} for _ in range(ORDER)]
        for gram, number in grams.items():
            self.parts[len(gram) - 1][gram] = number * weights.get(gram, most)
        self.norms = [sqrt(sum(w * w for w in part.values())) for part in self.parts]
        self.length = sum(number for gram, number in grams.items() if len(gram) == 2)

    def similarity(self, ref: "_Vector") -> float:
        """Mean over n of the clipped cosine to a reference, times the penalty of length."""
        total = 0.0
        for n in range(ORDER):
            norm = self.norms[n] * ref.norms[n]
            mine, theirs = self.parts[n], ref.parts[n]
            common = sum(min(w, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0)
                         for gram, w in mine.items())  # fmt: skip
            total += common / norm if norm else 0.0
        return total / ORDER * exp(-((self.length - ref.length) ** 2) / (2 * SIGMA**2))
