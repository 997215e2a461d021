"""Hotwords: how many of the words that were asked for are heard, and how many are made up.

    speechllm score exp/decode_test --metric hotwords:names.txt     # a word or phrase a line
    speechllm score exp/decode_test --metric hotwords               # "hotwords": [...] in each line

Three numbers, as in Le et al. 2021 (contextual RNN-T, arXiv 2104.02194) and one more:

- B-WER, the score: errors over the words of the reference that are in its list; a word of the list
  that is inserted counts here. Substitutions and deletions count where the reference's word is.
- U-WER: errors over all other words.
- leaks: words or phrases of the list that were not said and are in the hypothesis, over all listed
  ones that were not said. A list may help B-WER by being believed; this says at which price.

List, reference and hypothesis are normalised alike. Rows without any list count in U-WER alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from speechllm.score import edit
from speechllm.score.metrics._metric import Metric


@dataclass(frozen=True)
class Config(Metric):
    """B-WER, with U-WER and leaks; `words` is a file of hotwords for all rows, one a line."""

    words: str = ""

    label = "B-WER"
    fields = (
        *("b_correct", "b_sub", "b_del", "b_ins"),
        *("u_correct", "u_sub", "u_del", "u_ins"),
        *("leaked", "unsaid"),
    )
    shown = ("b_correct", "b_sub", "b_del", "b_ins", "leaked")
    lower_is_better = True

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        """The hotwords of all rows.

        Raises:
            ValueError: the file cannot be read.
        """
        if not self.words:
            return ()
        try:
            text = Path(self.words).read_text("utf-8")
        except (OSError, UnicodeError) as error:
            raise ValueError(f"hotwords: {self.words} cannot be read: {error}") from None
        return tuple(line.strip() for line in text.splitlines() if line.strip())

    def ready(self, utterance, clean: Callable[[str], str]):
        """Normalise the hotwords of an utterance, its own and those of all."""
        every = dict.fromkeys(clean(one) for one in (*utterance.hotwords, *self._listed))
        return replace(utterance, hotwords=tuple(one for one in every if one))

    def stats(self, ref: str, hyp: str) -> tuple[int, ...]:
        """Count an utterance without hotwords: all its words are others."""
        return self.counts(ref, hyp, ())

    def all_stats(self, utterances: Sequence, texts: Sequence) -> Iterator[tuple[int, ...]]:
        """Statistics of each utterance with its own list.

        Raises:
            ValueError: no utterance has any hotword.
        """
        if not any(one.hotwords for one in utterances):
            raise ValueError(
                'hotwords: no line has "hotwords": [...]; give a file of them, hotwords:FILE'
            )
        for one, (refs, hyp) in zip(utterances, texts, strict=True):
            yield self.counts(refs[0], hyp, one.hotwords)

    def counts(self, ref: str, hyp: str, hotwords: Sequence[str]) -> tuple[int, ...]:
        """Count an utterance; see `fields`."""
        r, h = ref.split(), hyp.split()
        phrases = [tuple(one.split()) for one in hotwords]
        longest = max(map(len, phrases), default=0)
        in_ref, in_hyp = _grams(r, longest), _grams(h, longest)
        listed = set(phrases)
        marked_r, marked_h = _marked(r, listed, longest), _marked(h, listed, longest)
        counts = Counter()
        for kind, i, j in edit.align(r, h):
            mark = marked_h[j] if kind == "I" else marked_r[i]
            counts["bu"[not mark] + kind] += 1
        unsaid = [phrase for phrase in listed if phrase not in in_ref]
        leaked = sum(phrase in in_hyp for phrase in unsaid)
        kinds = [side + kind for side in "bu" for kind in "=SDI"]
        return (*(counts[kind] for kind in kinds), leaked, len(unsaid))

    def score(self, total: Sequence[int] | np.ndarray):
        """B-WER in percent of a total (10,) or of many (..., 10); nan without such words."""
        return _rate(np.asarray(total, np.float64)[..., :4])

    def size(self, total: Sequence[int]) -> int:
        """Words of references that were asked for."""
        return int(sum(total[:3]))

    def describe(self, total: Sequence[int]) -> str:
        """Write a total: errors, U-WER and leaks."""
        values = np.asarray(total, np.float64)
        leaked, unsaid = int(total[8]), int(total[9])
        share = 100 * leaked / unsaid if unsaid else 0.0
        return (
            f"{int(sum(total[1:4]))} / {self.size(total)}; U-WER {_rate(values[4:8]):.2f} of "
            f"{int(sum(total[4:7]))} other words; leaked {leaked} of {unsaid} unsaid, {share:.3f} %"
        )


def _rate(counts: np.ndarray):
    """Errors over words in percent, of (..., 4); nan without words."""
    correct, sub, deleted, inserted = np.moveaxis(counts, -1, 0)
    words = correct + sub + deleted
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(words > 0, 100 * (sub + deleted + inserted) / words, np.nan)[()]


def _grams(words: list[str], longest: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + n]) for n in range(1, longest + 1)
            for i in range(len(words) - n + 1)}  # fmt: skip


def _marked(words: list[str], listed: set[tuple[str, ...]], longest: int) -> list[bool]:
    """Say of each word whether it is in a place where a listed word or phrase stands."""
    marks = [False] * len(words)
    for n in range(1, longest + 1):
        for i in range(len(words) - n + 1):
            if tuple(words[i : i + n]) in listed:
                marks[i : i + n] = [True] * n
    return marks
