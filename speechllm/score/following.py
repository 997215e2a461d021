"""Instruction following: does the same audio, under each instruction, get the answer asked for?

Not whether the answer is right, but whether it is of the kind: a transcript where a transcript is
wanted, German where German is, one of the choices where one is to be chosen. A speech LLM that was
trained on one task often keeps doing it whatever it is asked ("dormancy" of the LLM's abilities,
C. Tang et al., SALMONN, arXiv 2310.13289, call it task over-fitting).

    found = follow({"asr": "exp/decode_asr/hyp.jsonl", "de": "exp/decode_de/hyp.jsonl"})

Kinds are told apart by the references alone, in this order:

1. the answer shares most words with one of this audio's own references (word F1 of a half or more);
2. it is, word for word, a reference of one kind only: one of the choices;
3. its characters: naive Bayes over trigrams of the references, as languages are told apart
   (W. Cavnar and J. Trenkle 1994, N-gram-based text categorization, is the classic).

How far that can be trusted is measured beside: `own` is the share of the references, each taken
out of what rules 2 and 3 know and without rule 1, that are told to be of their own kind.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.score import intervals
from speechllm.score.formats import hypotheses
from speechllm.score.text import normalise

NOTHING = "nothing"  # the kind of an empty answer
ALIKE = 0.5  # word F1 from which on an answer is taken for one on this audio
SMOOTHING = 0.5


@dataclass(frozen=True)
class Following:
    """How one instruction was followed: percent, interval, what was given instead, its ceiling."""

    kind: str
    rate: float
    interval: tuple[float, float]
    given: dict[str, int]
    own: float

    def __str__(self) -> str:
        low, high = self.interval
        words = ", ".join(f"{name} {n}" for name, n in self.given.items())
        return (
            f"%FOLLOWED {self.rate:.2f} [ {self.kind}: {words} ] ci95=[{low:.2f}, {high:.2f}] "
            f"references told apart {self.own:.2f}"
        )


class Kinds:
    """Tells kinds of answers apart by what is known of each: texts of right answers."""

    def __init__(self, texts: Mapping[str, Sequence[str]]):
        self.whole = {kind: Counter(known) for kind, known in texts.items()}
        self.parts = {
            kind: Counter(part for text in known for part in trigrams(text))
            for kind, known in texts.items()
        }
        self.n_different = len(set().union(*self.parts.values())) or 1

    def of(self, text: str, here: Mapping[str, Sequence[str]] | None = None) -> str:
        """The kind of an answer; `here` are the right answers to the same audio, by kind."""
        if not text.strip():
            return NOTHING
        overlaps = {k: max((f1(text, ref) for ref in refs), default=0.0)
                    for k, refs in (here or {}).items()}  # fmt: skip
        best = sorted(overlaps.values(), reverse=True)
        if best and best[0] >= ALIKE and best[:2].count(best[0]) == 1:
            return max(overlaps, key=overlaps.__getitem__)
        return self._known(text, "")

    def of_reference(self, text: str, kind: str) -> str:
        """The kind of a reference of `kind`, as if it had not been among the texts."""
        return self._known(text, kind)

    def _known(self, text: str, out_of: str) -> str:
        """Rules 2 and 3; one text of the kind `out_of` does not count."""
        holding = [k for k, whole in self.whole.items() if whole[text] > (k == out_of)]
        if len(holding) == 1:
            return holding[0]
        parts = Counter(trigrams(text))
        scores = {kind: self._log_likelihood(parts, kind, kind == out_of) for kind in self.parts}
        return max(scores, key=scores.__getitem__)

    def _log_likelihood(self, parts: Counter, kind: str, without: bool) -> float:
        known = self.parts[kind]
        total = known.total() - (parts.total() if without else 0)
        below = math.log(total + SMOOTHING * self.n_different)
        return sum(
            n * (math.log(known[part] - (n if without else 0) + SMOOTHING) - below)
            for part, n in parts.items()
        )


def trigrams(text: str) -> list[str]:
    """Runs of three characters, with the ends of the text."""
    padded = f" {text} "
    return [padded[i : i + 3] for i in range(max(len(padded) - 2, 1))]


def f1(a: str, b: str) -> float:
    """Harmonic mean of the shares of words that two texts have in common, counted."""
    words_a, words_b = Counter(a.split()), Counter(b.split())
    common = (words_a & words_b).total()
    return 2 * common / max(words_a.total() + words_b.total(), 1)


def follow(
    files: Mapping[str, str | Path], normaliser: str = "basic", seed: int = 0
) -> list[Following]:
    """Measure each instruction; `files` are hypotheses by the kind of answer that was asked for.

    Utterances of different files that share an id are taken to be the same audio.

    Raises:
        ValueError: fewer than two files, a bad line, an utterance without reference.
    """
    if len(files) < 2:
        raise ValueError(f"wanted decodes under two instructions or more, got {len(files)}")
    clean = normalise.get(normaliser)
    decodes = {kind: _answers(path, clean) for kind, path in files.items()}
    kinds = Kinds({k: [ref for refs, _ in a.values() for ref in refs] for k, a in decodes.items()})
    results = []
    for kind, answers in decodes.items():
        counts = Counter(
            kinds.of(hyp, {k: a[id][0] for k, a in decodes.items() if id in a})
            for id, (_, hyp) in answers.items()
        )
        texts = [ref for refs, _ in answers.values() for ref in refs]
        own = sum(kinds.of_reference(text, kind) == kind for text in texts) / len(texts)
        followed = np.repeat(
            [[1, 0], [0, 1]], [counts[kind], counts.total() - counts[kind]], axis=0
        )
        interval = intervals.interval(followed, _percent, seed=seed)
        rate = float(_percent(followed.sum(0)))
        results.append(Following(kind, rate, interval, dict(counts.most_common()), 100 * own))
    return results


def _answers(path: str | Path, clean) -> dict[str, tuple[list[str], str]]:
    """(references, answer) by id, normalised."""
    read = hypotheses.read(path).utterances
    return {one.id: ([clean(ref) for ref in one.refs], clean(one.hyp)) for one in read}


def _percent(total):
    yes, no = np.moveaxis(np.asarray(total, np.float64), -1, 0)
    return 100 * yes / (yes + no)
