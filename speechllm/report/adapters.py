"""Experiments that differ in their adapter, side by side: what the LLM and what CTC make of each.

Of every set that was decoded: the error rate of the LLM's own answers, with CTC in its beams, with
the LLM as a language model there too (LM), and of CTC alone; without such a decode, what CTC read
in the last validations. Beside them the losses on real, shuffled and silent audio of the last
validation, and in a table of their own those of all.

EXP/**/decode.json     "system" says which adapter, "options" how was searched
EXP/log.jsonl          validations: {"valid": {"ctc/word_errors": 0.27, ...}, "health": {...}}
"""

from collections.abc import Iterator
from pathlib import Path

from speechllm.report import collect
from speechllm.report.collect import Experiment, Score

TITLE = "By adapter"
CURVES = "health in each validation"
HEALTH = ("real", "shuffled", "silent")
HEADS = ("configuration", "adapter", "set", "metric")
HEADS += ("LLM alone", "LLM and CTC", "LLM, CTC, LM", "CTC alone", *HEALTH, "training")
CURVE_HEADS = ("configuration", "phase", "step", *HEALTH, "CTC, word errors %")
WAYS = ("llm", "both", "all", "ctc")


def rows(experiments: list[Experiment]) -> list[tuple[str, ...]]:
    """Make a row for each set of each experiment; none where all have one adapter."""
    made = [row for experiment in experiments for row in _rows(experiment)]
    return made if len({row[1] for row in made}) > 1 else []


def curves(experiments: list[Experiment]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each validation that measured health."""
    for experiment in experiments:
        for phase, log in experiment.phases().items():
            for line in log:
                if line.get("health"):
                    health = [_number(line["health"].get(way)) for way in HEALTH]
                    step = str(line.get("step", ""))
                    yield experiment.name, phase, step, *health, _read(line)


def _rows(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    last = next((line["health"] for line in reversed(experiment.log) if line.get("health")), {})
    health = [_number(last.get(way)) for way in HEALTH]
    run = experiment.run
    spent = collect.duration(run["seconds"]) if "seconds" in run else ""
    sets: dict[tuple[str, str, str], dict[str, str]] = {}
    for score in experiment.scores:
        if (adapter := _adapter(score)) and score.heard == "real":
            place = adapter, _set(score), collect.metric_name(score.values)
            sets.setdefault(place, {})[_way(score)] = _number(score.values.get("value"))
    for place, values in sets.items():
        if "ctc" not in values and (read := _last_read(experiment)):
            values["ctc"] = f"{read} (validation)"
        yield experiment.name, *place, *(values.get(way, "") for way in WAYS), *health, spent


def _adapter(score: Score) -> str:
    """Name the adapter that was decoded with, and what it spells with: "" where nobody says."""
    system = score.decode.get("system")
    table = system.get("adapter") if isinstance(system, dict) else None
    if not isinstance(table, dict):
        return ""
    letters, pieces = str(table.get("letters", "")), table.get("pieces", 0)
    units = f" ({len(letters)} letters)" if letters else f" ({pieces} pieces)" if pieces else ""
    return str(table.get("name", "")) + units


def _way(score: Score) -> str:
    """Say who decided on the answers: one of `WAYS`."""
    options = score.decode.get("options")
    search = options.get("search") if isinstance(options, dict) else None
    search = search if isinstance(search, dict) else {}
    if search.get("by") == "ctc":
        return "ctc"
    if not search.get("ctc_weight"):
        return "llm"
    return "all" if search.get("lm_weight") else "both"


def _set(score: Score) -> str:
    """Name what was decoded by its manifest: each way of searching has a folder of its own."""
    manifest = score.decode.get("manifest")
    return Path(str(manifest)).name.split(".")[0] if manifest else collect.set_name(score)


def _last_read(experiment: Experiment) -> str:
    """The least of the last word error rates of each phase's CTC heads, in %; "" without one."""
    logs = experiment.phases().values()
    last = (next((read for line in reversed(log) if (read := _read(line))), "") for log in logs)
    return min(filter(None, last), key=float, default="")


def _read(line: dict) -> str:
    """The least word error rate of a validation's CTC heads, in %; "" without one."""
    valid = line.get("valid")
    values = valid.items() if isinstance(valid, dict) else ()
    found = [v for key, v in values if key.endswith("/word_errors") and isinstance(v, int | float)]
    return _number(100 * min(found)) if found else ""


def _number(value) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else ""
