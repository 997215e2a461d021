"""Calibration: is a word that has a confidence of 0.8 right in 80 of 100 cases?

    speechllm score exp/decode_dev --metric calibration           # says the temperature that fits
    speechllm score exp/decode_test --metric calibration:1.37     # with that of dev

Lines hold `"words": [{"word": ..., "confidence": ...}]`. The score is the expected calibration
error (ECE; Naeini et al. 2015): over ten bins of confidence, the distance between mean confidence
and share of right words, weighted by words, in percent. A temperature T makes p / (1 - p) to the
power of 1 / T of it (Guo et al. 2017, arXiv 1706.04599, for the odds of one word); fitted on dev
by likelihood it takes out what a model is too sure of, and changes no order. A word is right where
the alignment with the reference, both normalised, says so; one that normalises to nothing does not
count.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechllm.score import edit
from speechllm.score.metrics._metric import MILLION, Metric

BINS = 10
LEAST = 1e-4  # confidences are kept so far from 0 and 1
# Words are summed in finer bins, half a unit of log-odds wide, so that a temperature can be fitted.
EDGES = np.unique(
    np.round(np.r_[0, np.arange(1, BINS) / BINS, 1 / (1 + np.exp(-np.arange(-9, 9.5, 0.5)))], 9)
)
STARTS = np.searchsorted(EDGES, np.arange(BINS) / BINS)  # of the ten, among the fine ones
TEMPERATURES = np.exp(np.linspace(np.log(0.2), np.log(10.0), 400))


@dataclass(frozen=True)
class Config(Metric):
    """ECE of words' confidences at a temperature, "" for 1."""

    temperature: str = ""

    label = "ECE"
    fields = tuple(
        f"{what} {k}" for k in range(len(EDGES)) for what in ("words", "right", "millionths")
    )
    lower_is_better = True

    def __post_init__(self):
        try:
            fine = 0 < float(self.temperature or 1) < 1000
        except ValueError:
            fine = False
        if not fine:
            raise ValueError(f"temperature: wanted a number above 0, got {self.temperature!r}")

    def signature(self, n_refs: int) -> str:
        """Say which temperature."""
        return f"temperature:{self.temperature}" if self.temperature else ""

    def ready(self, utterance, clean: Callable[[str], str]):
        """Normalise the words of an utterance, each by itself."""
        words = ((clean(word), sure) for word, sure in utterance.words)
        return replace(utterance, words=tuple(words))

    def stats(self, ref: str, hyp: str) -> tuple[int, ...]:
        """Nothing is known of texts alone: see `all_stats`."""
        return (0,) * len(self.fields)

    def all_stats(self, utterances: Sequence, texts: Sequence) -> Iterator[tuple[int, ...]]:
        """Statistics of each utterance's words.

        Raises:
            ValueError: no word has a confidence.
        """
        if not any(one.words for one in utterances):
            raise ValueError(
                "calibration: no line has words with a confidence; speechllm transcribe writes "
                "them for formats with times, speechllm decode with --words"
            )
        for one, (refs, hyp) in zip(utterances, texts, strict=True):
            counts = np.zeros((len(EDGES), 3), np.int64)
            for sure, right in judged(refs[0], hyp, one.words):
                sure = float(warmed(sure, float(self.temperature or 1)))
                counts[np.searchsorted(EDGES, sure, "right") - 1] += (
                    1, right, round(sure * MILLION))  # fmt: skip
            yield tuple(counts.ravel().tolist())

    def score(self, total: Sequence[int] | np.ndarray):
        """ECE in percent of a total or of many (..., F); nan without words."""
        bins = np.add.reduceat(_fine(total), STARTS, -2)
        apart = np.abs(bins[..., 1] - bins[..., 2] / MILLION).sum(-1)
        words = bins[..., 0].sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(words > 0, 100 * apart / words, np.nan)[()]

    def size(self, total: Sequence[int]) -> int:
        """Words in a total."""
        return int(np.asarray(total).reshape(-1, 3)[:, 0].sum())

    def describe(self, total: Sequence[int]) -> str:
        """Write a total, and what the temperature that fits it would give."""
        words, right, sure = _fine(total).sum(0)
        if not words:
            return "0 words"
        fitted = fit(total)
        return (
            f"{int(words)} words, {100 * right / words:.2f} % right, mean confidence "
            f"{100 * sure / MILLION / words:.2f} %; a temperature of {fitted:.3g} fits: ECE "
            f"{at(total, fitted):.2f}"
        )

    def reliability(self, total: Sequence[int]) -> list[tuple[float, float, int]]:
        """List (mean confidence, share of right words, words) of each bin that has words."""
        bins = np.add.reduceat(_fine(total), STARTS, -2)
        return [(c / MILLION / n, r / n, int(n)) for n, r, c in bins if n]


def judged(ref: str, hyp: str, words: Sequence[tuple[str, float]]) -> list[tuple[float, bool]]:
    """Give the confidence of each word, and whether it is right.

    Args:
        ref, hyp: normalised.
        words: of the hypothesis with their confidences, normalised one by one; a number or a
            contraction may be several then, or be written otherwise within the whole.
    """
    tokens = hyp.split()
    right = [False] * len(tokens)
    for kind, _, j in edit.align(ref.split(), tokens):
        if kind == "=":
            right[j] = True
    pieces = [(piece, k) for k, (word, _) in enumerate(words) for piece in word.split()]
    place = {}
    for kind, i, j in edit.align([piece for piece, _ in pieces], tokens):
        if kind in "=S":
            place.setdefault(pieces[i][1], []).append(right[j])
    return [(words[k][1], all(found)) for k, found in sorted(place.items())]


def warmed(sure, temperature: float):
    """Change confidences by a temperature of their odds."""
    sure = np.clip(sure, LEAST, 1 - LEAST)
    return np.clip(1 / (1 + ((1 - sure) / sure) ** (1 / temperature)), LEAST, 1 - LEAST)


def fit(total: Sequence[int]) -> float:
    """Find the temperature with the highest likelihood, further than the one that is there."""
    n, right, sure = _fine(total).T
    sure, n, right = (x[n > 0] for x in (sure / MILLION / np.maximum(n, 1), n, right))
    losses = []
    for temperature in TEMPERATURES:
        p = warmed(sure, temperature)
        losses.append(-(right * np.log(p) + (n - right) * np.log(1 - p)).sum())
    return float(TEMPERATURES[int(np.argmin(losses))])


def at(total: Sequence[int], temperature: float) -> float:
    """ECE in percent at a further temperature, of words summed in fine bins."""
    n, right, sure = _moved(total, temperature)
    return float(100 * np.abs(right - sure).sum() / n.sum())


def refitted(total: Sequence[int]) -> list[tuple[float, float, int]]:
    """List what `Config.reliability` does, at the temperature that fits."""
    rows = zip(*_moved(total, fit(total)), strict=True)
    return [(sure / n, right / n, int(n)) for n, right, sure in rows if n]


def _moved(total: Sequence[int], temperature: float) -> tuple[np.ndarray, ...]:
    """Sum words, right ones and confidences by ten bins at a further temperature."""
    n, right, sure = _fine(total).T
    p = warmed(sure / MILLION / np.maximum(n, 1), temperature)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    return tuple(np.bincount(place, weights, BINS) for weights in (n, right, n * p))


def _fine(total: Sequence[int] | np.ndarray) -> np.ndarray:
    """Take (..., F) as (..., fine bins, 3): words, right ones, sums of confidence."""
    total = np.asarray(total, np.float64)
    return total.reshape(*total.shape[:-1], -1, 3)
