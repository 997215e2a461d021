"""How much an answer comes from listening: a score beside that on shuffled and on silent audio.

Where a set was decoded with `--audio shuffled` or `silent` too, as `decode.json` says and not the
name of a folder, the scores stand side by side, all together and by kind of question, with what the
best constant answer would score. Where one medium alone was changed (`shuffled:image`) the set has
a further row.
"""

from collections.abc import Iterator

from speechllm.report import collect
from speechllm.report.collect import Experiment, Score

HEADS = ("configuration", "set", "metric", "kind", "real", "shuffled", "silent", "constant answer")
WAYS = ("shuffled", "silent")


def rows(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """Yield the rows of one experiment: all questions of a set, then each kind."""
    for (name, metric), ways in _compared(experiment):
        cells = [_with_interval(ways[way]) if way in ways else "" for way in ("real", *WAYS)]
        kinds = list(_by_kind(ways["real"]).values())
        constant = kinds[0].get("constant") if len(kinds) == 1 else None
        yield experiment.name, name, metric, "all", *cells, _number(constant)
        yield from _kinds(experiment.name, name, metric, ways)


def beside(experiment: Experiment) -> list[Score]:
    """The scores on shuffled and silent audio that stand in a row with the real one's."""
    compared = [ways for _, ways in _compared(experiment)]
    return [score for ways in compared for way, score in ways.items() if way != "real"]


def _compared(experiment: Experiment) -> list[tuple[tuple[str, str], dict[str, Score]]]:
    """((set, metric), scores by way) of what was heard in several ways."""
    by_set: dict[tuple[str, str], dict[str, Score]] = {}
    for score in experiment.scores:
        name, way = collect.set_name(score), score.heard
        name = name if way == "real" else name.removesuffix(f"_{way.replace(':', '_')}")
        by_set.setdefault((name, collect.metric_name(score.values)), {})[way] = score
    whole = [(what, ways) for what, ways in by_set.items() if "real" in ways and len(ways) > 1]
    return [one for what, ways in whole for one in _by_medium(what, ways)]


def _by_medium(what: tuple[str, str], ways: dict[str, Score]) -> Iterator[tuple]:
    """Tell ways that change one medium from those that change all."""
    for medium in sorted({way.partition(":")[2] for way in ways if way != "real"}):
        name = f"{what[0]} ({medium} alone)" if medium else what[0]
        parts = {way: way.partition(":") for way in ways}
        own = {kind: ways[way] for way, (kind, _, which) in parts.items() if which == medium}
        yield (name, what[1]), {**own, "real": ways["real"]}


def _kinds(name: str, set_name: str, metric: str, ways: dict) -> Iterator[tuple[str, ...]]:
    tables = {way: _by_kind(score) for way, score in ways.items()}
    if len(tables["real"]) < 2:
        return
    for kind, row in tables["real"].items():
        cells = [_number(tables.get(way, {}).get(kind, {}).get("value")) for way in ("real", *WAYS)]
        yield name, set_name, metric, kind, *cells, _number(row.get("constant"))


def _by_kind(score: Score) -> dict[str, dict]:
    return {row["name"]: row for row in score.values.get("tables", {}).get("kind", ())}


def _with_interval(score: Score) -> str:
    low, high = score.values.get("ci95") or (None, None)
    span = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return _number(score.values.get("value")) + span


def _number(value) -> str:
    return "" if value is None else f"{value:.2f}"
