"""RESULTS.md: a table of all configurations, then each result line with how it was come by."""

from speechllm.report import collect, listening, tasks
from speechllm.report.collect import Experiment, Score

NOTE = (
    "Written by `speechllm report` from the files of the experiments; not edited by hand.\n"
    "What nobody has run yet says so."
)


def write(experiments: list[Experiment], title: str) -> str:
    """Write the file."""
    rows = [row for experiment in experiments for row in summary(experiment)]
    parts = [f"# {title}", NOTE, _table(HEADS, rows)]
    if heard := [row for e in experiments for row in listening.rows(e, set_name)]:
        parts += ["## Does it listen?", _table(listening.HEADS, heard)]
    if followed := [row for e in experiments for row in tasks.following(e)]:
        parts += ["## Does it do what is asked?", _table(tasks.FOLLOWING, followed)]
    if changed := [row for e in experiments for row in tasks.changes(e)]:
        parts += ["## What each stage changed", _table(tasks.CHANGES, changed)]
    parts += [_section(e) for e in experiments if e.state != "not run"]
    return "\n\n".join(parts) + "\n"


HEADS = ("configuration", "set", "metric", "%", "95 %", "training", "commit")
RIGHT = {"%", "95 %", "training", *listening.HEADS[4:], *tasks.CHANGES[3:]}


def summary(experiment: Experiment) -> list[tuple[str, ...]]:
    """Make the rows of one experiment for the table on top."""
    run = experiment.run
    spent = collect.duration(run["seconds"]) if "seconds" in run else ""
    commit = str(run.get("commit", ""))
    if not experiment.scores:
        how = (
            f": `{experiment.command}`"
            if experiment.state == "not run" and experiment.command
            else ""
        )
        return [(experiment.name, experiment.state + how, "", "", "", spent, commit)]
    return [(experiment.name, *numbers(score), spent, commit) for score in experiment.scores]


def numbers(score: Score) -> tuple[str, str, str, str]:
    """Set name, metric, value and interval of a score."""
    value, (low, high) = score.values.get("value"), score.values.get("ci95") or (None, None)
    span = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    shown = "undefined" if value is None else f"{value:.2f}"
    return set_name(score), str(score.values.get("metric", "")).upper(), shown, span


def set_name(score: Score) -> str:
    """Name what was decoded: "test" for EXP/decode_test/score."""
    parts = [p for p in score.name.split("/") if not p.startswith("score")] or [score.name]
    return "/".join(parts).removeprefix("decode_") or score.name


def _section(experiment: Experiment) -> str:
    parts = [f"## {experiment.name}"]
    for score in experiment.scores:
        parts += [f"{set_name(score)}:", f"    {score.values['line']}"]
        if details := collect.decode_facts(score):
            parts.append(_facts(details))
    if not experiment.scores:
        parts.append("Trained, not scored.")
    if experiment.paired:
        parts.append("Paired tests, a against b:\n\n" + _paired(experiment.paired))
    if details := collect.facts(experiment):
        parts.append("Training:\n\n" + _facts(details))
    return "\n\n".join(parts)


def _paired(tests: tuple[dict, ...]) -> str:
    rows = []
    for test in tests:
        names = [test[key].removeprefix("decode_") for key in ("of", "against")]
        scores = [f"{test[key]:.2f}" for key in "ab"]
        span = f"{test['low']:+.2f} to {test['high']:+.2f}"
        ps = [f"{test[key]:.4f}" for key in ("p", "p_ar")]
        difference = f"{test['difference']:+.2f}"
        rows.append((test["metric"].upper(), *names, *scores, difference, span, *ps))
    heads = ("metric", "a", "b", "of a", "of b", "a - b", "95 %", "p, bootstrap", "p, randomised")
    return _table(heads, rows)


def _facts(details: dict[str, str]) -> str:
    code = ("command", "decoded by")
    rows = [(k, f"`{v}`" if k in code else v) for k, v in details.items()]
    return _table(("", ""), rows)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = ["---:" if head in RIGHT else "---" for head in heads]
    cells = [heads, rule, *([text.replace("|", "\\|") for text in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
