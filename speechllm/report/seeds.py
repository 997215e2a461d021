"""Experiments that differ in their seed alone: mean and spread of each score.

They belong together if preset, set, metric and signature are the same and no seed occurs twice.
Where the data of a seed are its own (a recipe that speaks or draws its corpus), the table says so.
"""

from collections import defaultdict

from speechllm.report.collect import Experiment, Score, metric_name, set_name
from speechllm.score.spread import Spread

TITLE = "Over seeds"
HEADS = ("configurations", "set", "metric", "seeds", "mean ± deviation", "each", "data")
OWN = ("seed", "commit")  # parts of a signature in which runs of one configuration may differ


def rows(experiments: list[Experiment], strict: bool = False) -> list[tuple[str, ...]]:
    """Return a row for each score that several seeds have.

    Raises:
        ValueError: `strict`, and some experiment is not another seed of the others.
    """
    groups: dict[tuple, list[tuple[Experiment, Score]]] = defaultdict(list)
    for experiment in experiments:
        for score in experiment.scores:
            if score.values.get("value") is not None:
                groups[_kind(experiment, score)].append((experiment, score))
    together = {key: group for key, group in groups.items() if _seeds(group)}
    if strict:
        _refuse(experiments, list(together.values()))
    return [_row(key, group) for key, group in together.items()]


def _kind(experiment: Experiment, score: Score) -> tuple[str, ...]:
    """What scores of several seeds have in common: set, metric, preset, the rest of the line."""
    parts = str(score.values.get("signature", "")).split("|")
    rest = "|".join(part for part in parts if part.partition("=")[0] not in OWN)
    preset = str(experiment.run.get("preset", ""))
    return set_name(score), metric_name(score.values), preset, rest


def _seeds(group: list[tuple[Experiment, Score]]) -> list[str]:
    """The seeds of a group, each once; none if the group is not one of seeds."""
    seeds = [_seed(*one) for one in group]
    return seeds if len(group) > 1 and "" not in seeds and len(set(seeds)) == len(seeds) else []


def _seed(experiment: Experiment, score: Score) -> str:
    context = score.values.get("context") or {}
    return str(experiment.run.get("seed", context.get("seed", "")))


def _row(key: tuple, group: list[tuple[Experiment, Score]]) -> tuple[str, ...]:
    spread = Spread.of(score.values["value"] for _, score in group)
    names = ", ".join(experiment.name for experiment, _ in group)
    data = {(str(e.run.get("data")), s.values.get("manifest_sha256")) for e, s in group}
    each = ", ".join(f"{value:.2f}" for value in spread.values)
    mean = f"{spread.mean:.2f} ± {spread.deviation:.2f}"
    return (
        names,
        *key[:2],
        ", ".join(_seeds(group)),
        mean,
        each,
        "the same" if len(data) == 1 else "differ",
    )


def _refuse(experiments: list[Experiment], groups: list) -> None:
    """Refuse experiments of which not all are seeds of one."""
    for group in groups:
        if len(group) == len(experiments):
            return
    known = [
        f"{e.name}: preset {e.run.get('preset', '?')}, seed {e.run.get('seed', '?')}, {e.state}"
        for e in experiments
    ]
    raise ValueError(
        "--seeds wants one configuration, scored alike, under a seed of its own each; got "
        + "; ".join(known)
    )
