"""Faults of speech LLMs that a rate hides: loops, bursts of insertions, silence, cut hypotheses.

| fault     | an utterance whose |
|---|---|
| empty_ref | normalised reference is empty: all its words are insertions |
| empty_hyp | normalised hypothesis is empty though the reference is not |
| loop      | hypothesis repeats an n-gram four times in a row, at least twice more than the ref;
|           | or was ended by the loop guard ("stop": "loop") |
| burst     | alignment has a long run of insertions (`burst` of the metric): hallucination |
| fast      | hypothesis has more words than can be said in its time (`fastest` of the metric),
|           | and the reference has not |
| cut       | decoding was stopped by the length bound ("stop": "length") |
| missing   | hypothesis is not there at all and counted as deletions on request |
"""

from collections.abc import Sequence
from itertools import groupby

from speechllm.score import edit

NAMES = ("empty_ref", "empty_hyp", "loop", "burst", "fast", "cut", "missing")
SPARE = 2  # words that a very short sound may have beyond that, as its ends may be cut
LOOP_TIMES = 4


def find(utterance, ref: Sequence[str], hyp: Sequence[str], metric) -> tuple[str, ...]:
    """Name the faults of one utterance, given its tokens."""
    holds = {
        "empty_ref": not ref,
        "empty_hyp": bool(ref) and not hyp,
        "loop": utterance.stop == "loop" or loops(ref, hyp, metric.loop_length),
        "burst": longest_insertion(ref, hyp, metric.burst) >= metric.burst,
        "fast": too_fast(len(ref), len(hyp), utterance.duration, metric.fastest),
        "cut": utterance.stop == "length",
        "missing": utterance.missing,
    }
    return tuple(name for name in NAMES if holds[name])


def too_fast(n_ref: int, n_hyp: int, seconds: float | None, fastest: float) -> bool:
    """Tell whether so many tokens cannot have been said in that time, and the reference's can."""
    if seconds is None:
        return False
    most = fastest * seconds + SPARE
    return n_hyp > most >= n_ref


def loops(ref: Sequence[str], hyp: Sequence[str], longest: int) -> bool:
    """Tell whether the hypothesis loops where the reference does not."""
    times = repeats(hyp, longest)
    return times >= LOOP_TIMES and times >= repeats(ref, longest) + 2


def repeats(tokens: Sequence[str], longest: int) -> int:
    """Count how often an n-gram of at most `longest` tokens stands in a row, at most."""
    most = min(1, len(tokens))
    if len(set(tokens)) == len(tokens):
        return most
    for n in range(1, min(longest, len(tokens) // 2) + 1):
        run = 0
        for a, b in zip(tokens, tokens[n:], strict=False):
            run = run + 1 if a == b else 0
            most = max(most, run // n + 1)
    return most


def longest_insertion(ref: Sequence[str], hyp: Sequence[str], at_least: int = 1) -> int:
    """Length of the longest run of insertions; 0 without work if there are less than `at_least`."""
    if ref == hyp or edit.counts(ref, hyp)[3] < at_least:
        return 0
    kinds = groupby(step[0] for step in edit.align(ref, hyp))
    return max((len(list(run)) for kind, run in kinds if kind == "I"), default=0)
