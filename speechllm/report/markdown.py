"""RESULTS.md: a table of all configurations, then each result line with how it was come by."""

import re

from speechllm.report import adapters, collect, listening, pairs, seeds, tasks, together
from speechllm.report.collect import Experiment, Score

NOTE = (
    "Written by `speechllm report` from the files of the experiments; not edited by hand.\n"
    "What nobody has run yet says so."
)


def write(experiments: list[Experiment], title: str, benchmark: str = "") -> str:
    """Write the file; `benchmark` is the Markdown that `speechllm benchmark` wrote beside it."""
    rows = [row for experiment in experiments for row in summary(experiment)]
    parts = [f"# {_text(title)}", NOTE, _table(HEADS, rows), *_side_by_side(benchmark)]
    if over := seeds.rows(experiments):
        parts += [f"## {seeds.TITLE}", _table(seeds.HEADS, over)]
    if by_adapter := adapters.rows(experiments):
        curves = _table(adapters.CURVE_HEADS, list(adapters.curves(experiments)))
        parts += [f"## {adapters.TITLE}", _table(adapters.HEADS, by_adapter)]
        parts.append(_folded(adapters.CURVES, curves))
    parts += _heard(experiments)
    if followed := [row for e in experiments for row in tasks.following(e)]:
        parts += ["## Does it do what is asked?", _table(tasks.FOLLOWING, followed)]
    if changed := [row for e in experiments for row in tasks.changes(e)]:
        parts += ["## What each phase changed", _table(tasks.CHANGES, changed)]
    sections = {e.name: _section(e) for e in experiments if e.state != "not run"}
    fold = len(sections) >= MANY
    parts += [_folded(name, text) if fold else text for name, text in sections.items()]
    return "\n\n".join(parts) + "\n"


def _side_by_side(benchmark: str) -> list[str]:
    """A benchmark's first table below a heading of its own, all that follows folded away."""
    if not benchmark:
        return []
    _, results, *others = re.split(r"^#+ ", benchmark.strip(), flags=re.MULTILINE)[1:]
    sections = [section.partition("\n") for section in others]
    shown = ["## Recognisers side by side", results.partition("\n")[2].strip()]
    shown += [_folded(name, text.strip()) for name, _, text in sections]
    return shown


def _heard(experiments: list[Experiment]) -> list[str]:
    """Scores on real, shuffled and silent audio; of many experiments, kinds of question folded."""
    rows = [row for e in experiments for row in listening.rows(e)]
    whole = [row for row in rows if row[3] == "all"]
    if len({row[0] for row in whole}) < MANY:
        return ["## Does it listen?", _table(listening.HEADS, rows)] if rows else []
    kinds = _table(listening.HEADS, [row for row in rows if row[3] != "all"])
    shown = _folded("by kind of question", kinds)
    return ["## Does it listen?", _table(listening.HEADS, whole), shown]


def _folded(name: str, text: str) -> str:
    """A section behind a line to click on; its heading, with all else, is inside."""
    return f"<details><summary>{_text(name)}</summary>\n\n{text}\n\n</details>"


HEADS = ("configuration", "set", "metric", "%", "95 %", "training", "commit")
MANY = 3  # experiments, from which on each one's details are folded away
CODE = ("command", "decoded by")
RIGHT = {"%", "95 %", "training", "mean ± deviation", "times", *listening.HEADS[4:]}
RIGHT |= {*tasks.CHANGES[3:], *pairs.HEADS[4:], *together.COST[1:-1]}
RIGHT |= {*adapters.HEADS[4:], *adapters.CURVE_HEADS[2:]}


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
    beside = listening.beside(experiment)
    shown = [score for score in experiment.scores if score not in beside]
    return [(experiment.name, *numbers(score), spent, commit) for score in shown]


def numbers(score: Score) -> tuple[str, str, str, str]:
    """Set name, metric, value and interval of a score."""
    value, (low, high) = score.values.get("value"), score.values.get("ci95") or (None, None)
    span = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    shown = pairs.number(value)
    if score.incomplete:
        shown += f" (INCOMPLETE: {score.rows})"
    return collect.set_name(score), collect.metric_name(score.values), shown, span


def _section(experiment: Experiment) -> str:
    parts = [f"## {_text(experiment.name)}"]
    for scores in _decodes(experiment):
        warnings = dict.fromkeys(text for s in scores for text in s.values["warnings"])
        parts.append(f"{_text(collect.set_name(scores[0]))}:")
        parts.append("\n".join(f"    {s.values['line']}" for s in scores))
        parts += [f"**{_text(text)}**" for text in warnings]
        if details := collect.decode_facts(scores[0]):
            parts.append(_sentence(details))
    if not experiment.scores:
        parts.append("Trained, not scored.")
    if experiment.paired:
        parts.append("Paired tests, a against b:\n\n" + _paired(experiment.paired))
    if details := collect.facts(experiment):
        parts.append("Training:\n\n" + _facts(details))
    return "\n\n".join(parts)


def _decodes(experiment: Experiment) -> list[list[Score]]:
    """The scores of each decode, which one command made."""
    by_set: dict[str, list[Score]] = {}
    for score in experiment.scores:
        by_set.setdefault(collect.set_name(score), []).append(score)
    return list(by_set.values())


def _sentence(details: dict[str, str]) -> str:
    """What is known of a decode, in one line."""
    return "; ".join(f"{k} {_code(v) if k in CODE else v}" for k, v in details.items()) + "."


def _paired(tests: tuple[dict, ...]) -> str:
    rows = []
    for test in tests:
        names = [test[key].removeprefix("decode_") for key in ("of", "against")]
        numbers = pairs.cells(*(test[key] for key in pairs.NUMBERS))
        rows.append((collect.metric_name(test), *names, *numbers))
    return _table(("metric", *pairs.HEADS[2:]), rows)


def _facts(details: dict[str, str]) -> str:
    rows = [(k, _code(v) if k in CODE else v) for k, v in details.items()]
    return _table(("", ""), rows)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = ["---:" if head in RIGHT else "---" for head in heads]
    cells = [heads, rule, *(map(_plain, row) for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def _plain(text: str) -> str:
    """Keep a cell one cell; what stands in ` ` is no markup anyway."""
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if text.startswith("`") else _text(text)


def _text(text: str) -> str:
    """Let a text be no markup."""
    return text.replace("<", "&lt;")


def _code(text: str) -> str:
    """Write a command; a backtick within would end it."""
    return f"`{text.replace('`', chr(39))}`"
