"""Paired tests of experiments: those that `speechllm score --against` left, and against the best.

Of the decodes of a set that were scored alike and whose answers are at hand, each is tested against
the best; the tests are those of `score/intervals.py`.
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.report import collect, together
from speechllm.report.collect import Experiment, Score
from speechllm.score import compare, counting

MOST = 24  # decodes of a set
HEADS = (
    "set",
    "metric",
    "a",
    "b",
    "of a",
    "of b",
    "a - b",
    "95 %",
    "p, bootstrap",
    "p, randomised",
)
NUMBERS = ("a", "b", "difference", "low", "high", "p", "p_ar")


def rows(experiments: list[Experiment]) -> list[tuple[str, ...]]:
    """List all tests of all experiments."""
    listed = [row for experiment in experiments for row in _stored(experiment)]
    for (set_name, metric, *_), scores in together.by_set(experiments).items():
        listed += [(set_name, metric, *row) for row in _against_best(scores)]
    return listed


def _stored(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    for test in experiment.paired:
        of, against = (test[key].removeprefix("decode_") for key in ("of", "against"))
        numbers = cells(*(test[key] for key in NUMBERS))
        yield of, collect.metric_name(test), experiment.name, against, *numbers


def _against_best(scores: list[tuple[str, Score]]) -> Iterator[tuple[str, ...]]:
    there = [(name, one) for name, one in scores if _answers(one)]
    if not 1 < len(there) <= MOST:
        return
    try:
        low = counting.named(there[0][1].values["metric"]).lower_is_better
    except ValueError:  # written by another version: there is no such metric here
        return
    there.sort(key=lambda pair: pair[1].values["value"] * (1 if low else -1))
    (best, first), *others = there
    for name, score in others:
        try:
            found = compare.compare_files(
                _answers(score), _answers(first), score.values["metric"], together.normaliser(score)
            ).paired
        except ValueError:  # not the same utterances, or not the files that were scored any more
            continue
        yield name, best, *cells(*(getattr(found, key) for key in NUMBERS))


def _answers(score: Score) -> Path | None:
    """Find the answers that a score is of."""
    paths = (folder / "hyp.jsonl" for folder in (score.folder, score.folder.parent))
    return next((path for path in paths if path.is_file()), None)


def cells(a, b, difference, low, high, p, p_ar) -> tuple[str, ...]:
    """Write the numbers of a test for a table."""
    span = f"{number(low, '+.2f')} to {number(high, '+.2f')}"
    chances = number(p, ".4f"), number(p_ar, ".4f")
    return number(a), number(b), number(difference, "+.2f"), span, *chances


def number(value: float | None, how: str = ".2f") -> str:
    """Write a number, and what is none."""
    return "undefined" if value is None or value != value else format(value, how)
