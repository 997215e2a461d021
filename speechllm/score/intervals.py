"""Bootstrap intervals and paired tests of two systems, for any metric with additive statistics.

Utterances are drawn with replacement, their statistics summed, each sum scored: a corpus rate is
a ratio of sums, so its error does not follow from the utterances' own rates.

Sources: Bisani & Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance
evaluation"; Koehn 2004 for the paired test, with the shift of Riezler & Maxwell 2005, as sacrebleu;
Riezler & Maxwell 2005 for approximate randomisation.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
TRIALS = 10000  # of approximate randomisation, as sacrebleu
_CHUNK = 1 << 21  # draws held at once (16 MiB); the result does not depend on it


def interval(
    stats: np.ndarray,
    score: Callable,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a corpus score.

    Args:
        stats: (U, F) statistics, one row an utterance.
        score: maps totals (..., F) to scores (...).
        level: coverage of the interval.
        resamples: number of bootstrap corpora.
        seed: of the draws; the same seed gives the same interval.
        groups: (U,) names; whole groups are drawn instead of utterances, for instance speakers,
            whose utterances are not independent (the interval then speaks about new speakers).

    Returns:
        (low, high); both nan where no bootstrap corpus has a score.
    """
    stats = np.asarray(stats)
    if groups is not None:
        stats = _sum_groups(stats, groups)
    scores = score(_totals(stats, resamples, seed))
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Paired:
    """Two systems on the same utterances: scores, difference a - b, its interval, p-values.

    p is that of the paired bootstrap, p_ar that of approximate randomisation.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    p_ar: float
    resamples: int

    def __str__(self) -> str:
        """One line for a log or a report."""
        span = f"ci95=[{self.low:+.2f}, {self.high:+.2f}]"
        scores = f"a {self.a:.2f} b {self.b:.2f} a-b {self.difference:+.2f}"
        return f"{scores} {span} p={self.p:.4f} p_ar={self.p_ar:.4f}"


def paired(
    stats_a: np.ndarray,
    stats_b: np.ndarray,
    score: Callable,
    resamples: int = RESAMPLES,
    seed: int = 0,
    trials: int = TRIALS,
) -> Paired:
    """Test two systems on the same utterances, (U, F) statistics each, in two ways.

    Paired bootstrap: both are scored on the same draws; p is the share of draws whose difference
    departs from the mean of all draws by at least the observed difference (on both sides, so that
    it is about twice that of sacrebleu, which counts one; never below 1 / draws). Approximate
    randomisation: see `randomised`.

    Raises:
        ValueError: the two do not have the same number of utterances.
    """
    stats_a, stats_b = np.asarray(stats_a), np.asarray(stats_b)
    if stats_a.shape != stats_b.shape:
        raise ValueError(
            f"a paired test wants both systems on the same utterances, got {len(stats_a)} and "
            f"{len(stats_b)}; decode both on the same set"
        )
    a, b = float(score(stats_a.sum(0))), float(score(stats_b.sum(0)))
    both = _totals(np.concatenate([stats_a, stats_b], 1), resamples, seed)
    width = stats_a.shape[1]
    differences = score(both[:, :width]) - score(both[:, width:])
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return Paired(a, b, a - b, *[float("nan")] * 4, resamples)
    low, high = np.quantile(differences, [0.025, 0.975])
    # The tolerance keeps rounding from telling apart differences that are equal as fractions.
    as_far = np.abs(differences - differences.mean()) >= abs(a - b) - 1e-9
    p = (as_far.sum() + 1) / (len(differences) + 1)
    p_ar = randomised(stats_a, stats_b, score, trials, seed)
    return Paired(a, b, a - b, float(low), float(high), float(p), p_ar, resamples)


def randomised(
    stats_a: np.ndarray, stats_b: np.ndarray, score: Callable, trials: int = TRIALS, seed: int = 0
) -> float:
    """Approximate randomisation: p of the difference, were the two outputs interchangeable.

    In each trial the outputs of either system, (U, F) statistics, change places by the toss of a
    coin; p is the share of trials whose difference is at least the observed one (two-sided).
    """
    stats_a, stats_b = np.asarray(stats_a, np.float64), np.asarray(stats_b, np.float64)
    both, change = stats_a.sum(0) + stats_b.sum(0), stats_b - stats_a
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(stats_a))
    wanted = abs(float(score(stats_a.sum(0)) - score(stats_b.sum(0)))) - 1e-9
    as_far = 0
    for start in range(0, trials, step):
        coins = rng.integers(2, size=(min(step, trials - start), len(stats_a)), dtype=np.int8)
        # what a has after the swaps; b then has the rest of `both`
        totals = stats_a.sum(0) + coins @ change
        as_far += int((np.abs(score(totals) - score(both - totals)) >= wanted).sum())
    return (as_far + 1) / (trials + 1)


def _sum_groups(stats: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    index: dict = {}
    rows = [index.setdefault(g, len(index)) for g in groups]
    sums = np.zeros((len(index), stats.shape[1]), stats.dtype)
    np.add.at(sums, rows, stats)
    return sums


def _totals(stats: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Sum of each bootstrap corpus, (resamples, F), a bounded number of draws at a time."""
    rng = np.random.default_rng(seed)
    units = len(stats)
    weights = stats.astype(np.float64)
    step = max(1, _CHUNK // units)
    totals = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(units, size=(rows, units))
        # One count for many corpora: each row counts in numbers of its own. Of 3 units, the draws
        # (0 2 2), (1 1 0) are 0 2 2, 4 4 3, and the counts (1 0 2), (1 2 0).
        drawn += units * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        totals.append(times @ weights)
    return np.concatenate(totals)
