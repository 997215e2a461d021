"""From the name of a metric to the statistics of utterances.

    metric, normalisers = named("bleu:zh"), choice.choose("none", utterances)
    stats = count(utterances, metric, normalisers)                # (U, F)

A name is METRIC, METRIC:OPTION or METRIC@FIELD:FIELD; "bleu:zh" gives the first option of `bleu.py`
the value "zh", "wer@transcript:source" compares these fields of each line.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from speechllm import config
from speechllm.score.metrics._metric import Metric
from speechllm.score.text.choice import Choice

ROOM = "score.metrics"


def metrics() -> list[str]:
    """List the metrics: the files of their folder."""
    return config.names(ROOM)


def named(name: str) -> Metric:
    """Make the metric called `name`; what "@" says is not looked at.

    Raises:
        ValueError: there is none of that name, or it has no such option.
    """
    whole = name.partition("@")[0]
    name, colon, option = whole.partition(":")
    if name not in metrics():
        raise ValueError(f"no metric called {name!r}; {config.suggest(name, metrics())}")
    table: dict = {"name": name}
    if colon:
        options = [f for f in dataclasses.fields(config.config_class(ROOM, name)) if f.init]
        if not options or options[0].type not in (str, int):
            raise ValueError(f"{whole}: the metric {name} has no options; ask for {name}")
        number = options[0].type is int and option.isdecimal()
        table[options[0].name] = int(option) if number else option
    return config.part(ROOM, table, whole)


def compared(name: str) -> tuple[str, str]:
    """What a metric compares of each line: `hyp` and `ref`, or of "wer@transcript:source" others.

    Raises:
        ValueError: what stands after "@" is not of that form.
    """
    _, at, both = name.partition("@")
    if not at:
        return "hyp", "ref"
    hyp, colon, ref = both.partition(":")
    if not (hyp and colon and ref):
        raise ValueError(f"{name}: wanted METRIC@FIELD:FIELD of hypotheses and of references")
    return hyp, ref


def clean_texts(one, choice: Choice) -> tuple[list[str], str]:
    """Normalise references and hypothesis, white space too."""
    return [choice.clean(ref, one.lang) for ref in one.refs], choice.clean(one.hyp, one.lang)


def all_stats(
    utterances: Sequence, cleaned: list, metric: Metric, choice: Choice
) -> Iterable[tuple[int, ...]]:
    """Statistics of all utterances; `cleaned` as of `clean_texts`.

    Raises:
        ValueError: several references for a metric that takes one.
    """
    several = len(utterances[0].refs)
    if several > 1 and not metric.many_references:
        raise ValueError(
            f"{metric.label} takes one reference, but {utterances[0].id} has {several}; "
            "score with a metric that takes several (bleu, chrf), or keep one"
        )
    ready = [metric.ready(one, partial(choice.clean, lang=one.lang)) for one in utterances]
    return metric.all_stats(ready, cleaned)


def count(utterances: Sequence, metric: Metric, choice: Choice) -> np.ndarray:
    """Statistics of each utterance (U, F), and nothing else."""
    cleaned = [clean_texts(one, choice) for one in utterances]
    return np.array(list(all_stats(utterances, cleaned, metric, choice)), np.int64)
