"""What all metrics share: `Metric`, their base, and `Rate`, the base of those that count edits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metric:
    """A way to score; the fields of a metric's dataclass are its options, these are its nature.

    Attributes:
        label: what is printed, "WER".
        fields: names of the statistics, as many as `stats` returns.
        shown: of the fields, in tables.
        lower_is_better: which way is better.
        unit: what is counted: word or character.
        loop_length: an n-gram of up to so many tokens that repeats is a loop.
        burst: so many insertions in a row are a burst.
        normaliser: what it is scored with by default; "": what the language of each row wants.
        references: keys of a manifest's row, the first that is there is the reference.
        many_references: whether `stats` takes a list of them.
        check: the command of others that gives the same number.
    """

    label = ""
    fields = ()
    shown = ()
    lower_is_better = False
    unit = "word"
    loop_length = 8
    burst = 5
    normaliser = ""
    references = ("text",)
    many_references = False
    check = ""

    def stats(self, ref: str, hyp: str) -> tuple[int, ...]:
        """Statistics of one utterance, integers that may be summed, one a field."""
        raise NotImplementedError

    def score(self, total: Sequence[int] | np.ndarray):
        """Percent of a total (F,) or of many (..., F); nan where it is undefined."""
        raise NotImplementedError

    def size(self, total: Sequence[int]) -> int:
        """What a total is over: utterances."""
        return int(total[-1])

    def describe(self, total: Sequence[int]) -> str:
        """Write a total for the result line."""
        return f"{self.size(total)} utterances"

    def tokens(self, text: str) -> list[str]:
        """Split a normalised text into what alignments show: words."""
        return text.split()

    def signature(self, n_refs: int) -> str:
        """What a metric says of itself besides its label, for so many references an utterance."""
        return ""

    def over(self, references: Iterable[str]) -> "Metric":
        """Return the metric for these references, on which its fields may depend."""
        return self

    def all_stats(self, utterances: Sequence, texts: Sequence) -> Iterable[tuple[int, ...]]:
        """Statistics of all utterances; `texts` are their (references, hypothesis), normalised."""
        many = self.many_references
        return (self.stats(refs if many else refs[0], hyp) for refs, hyp in texts)

    def plain_files(self, utterances: Sequence) -> dict[str, str]:
        """Further files to write beside the score: name -> text."""
        return {}


@dataclass(frozen=True)
class Millionths(Metric):
    """The mean of one number an utterance; statistics are integers, so it counts in millionths."""

    fields = ("millionths", "utterances")

    def score(self, total: Sequence[int] | np.ndarray):
        """Mean in percent of a total (2,) or of many (..., 2); nan for nothing."""
        summed, utterances = np.moveaxis(np.asarray(total, np.float64), -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(utterances > 0, 100 * summed / MILLION / utterances, np.nan)[()]


MILLION = 1_000_000
