"""What metrics share: `Metric`, the base of all; `Rate`, of edits; `Millionths`, of mean scores."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.score import edit


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
        fastest: tokens a second that nobody speaks beyond; 260 words in 23.8 s are on record.
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
    fastest = 11.0
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

    def align(self, ref: str, hyp: str) -> tuple[list[str], list[str], list[edit.Step]]:
        """Align two normalised texts: tokens of each, steps between them."""
        r, h = self.tokens(ref), self.tokens(hyp)
        return r, h, edit.align(r, h)

    def tokens(self, text: str) -> list[str]:
        """Split a normalised text into what alignments show: words."""
        return text.split()

    def signature(self, n_refs: int) -> str:
        """What a metric says of itself besides its label, for so many references an utterance."""
        return ""

    def over(self, references: Iterable[str]) -> "Metric":
        """Return the metric for these references, on which its fields may depend."""
        return self

    def ready(self, utterance, clean: Callable[[str], str]):
        """Return an utterance whose further texts are normalised by `clean`, where any count."""
        return utterance

    def all_stats(self, utterances: Sequence, texts: Sequence) -> Iterable[tuple[int, ...]]:
        """Statistics of all utterances; `texts` are their (references, hypothesis), normalised."""
        many = self.many_references
        return (self.stats(refs if many else refs[0], hyp) for refs, hyp in texts)

    def plain_files(self, utterances: Sequence) -> dict[str, str]:
        """Further files to write beside the score: name -> text."""
        return {}


@dataclass(frozen=True)
class Rate(Metric):
    """Errors over reference tokens: a metric that counts edits."""

    fields = shown = ("correct", "sub", "del", "ins")
    lower_is_better = True

    def score(self, total: Sequence[int] | np.ndarray):
        """Error rate in percent of a total (4,) or of many (..., 4); nan without references."""
        correct, sub, deleted, inserted = np.moveaxis(np.asarray(total, np.float64), -1, 0)
        words = correct + sub + deleted
        with np.errstate(divide="ignore", invalid="ignore"):
            # [()] makes a number of what is an array without dimensions, for a total (4,)
            return np.where(words > 0, 100 * (sub + deleted + inserted) / words, np.nan)[()]

    def size(self, total: Sequence[int]) -> int:
        """Reference tokens in a total."""
        return int(total[0] + total[1] + total[2])

    def describe(self, total: Sequence[int]) -> str:
        """Write a total in Kaldi's form: "1903 / 52576, 210 ins, 301 del, 1392 sub"."""
        _, sub, deleted, inserted = (int(x) for x in total)
        errors = sub + deleted + inserted
        return f"{errors} / {self.size(total)}, {inserted} ins, {deleted} del, {sub} sub"


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
