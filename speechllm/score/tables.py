"""Scores of parts of a corpus: by speaker, duration, words of the reference, task and kind."""

from collections.abc import Callable, Sequence

import numpy as np

DURATIONS_S = (2, 5, 10, 15, 20, 30, 60)
MOST_ANSWERS = 100  # among which the best constant one is looked for
SIZES = (0, 5, 10, 20, 30, 50, 100)


def bins(value: float, edges: Sequence[int], whole: bool) -> tuple[int, str]:
    """Place a value: (order, label). Bins hold their upper edge: "5-10" is above 5 up to 10."""
    for k, edge in enumerate(edges):
        if value <= edge:
            low = edges[k - 1] + (1 if whole else 0) if k else 0
            return k, str(edge) if low == edge else f"{low}-{edge}"
    return len(edges), f"> {edges[-1]}"


def make(scored: Sequence, metric) -> dict[str, list[dict]]:
    """Make the tables that the data allow, each a list of rows in a sensible order.

    `scored` has `.utterance`, `.stats` and `.n_ref` each; see `run.py`. A table with a single row
    that says no more than the total is left out, but for the one by speaker.
    """
    keys: dict[str, Callable] = {
        "speaker": lambda s: _natural(s.utterance.speaker),
        "duration_s": _duration,
        f"{metric.unit}s": lambda s: bins(s.n_ref, SIZES, whole=True),
        "task": lambda s: _natural(s.utterance.task),
        "kind": lambda s: _natural(s.utterance.kind),
    }
    tables = {name: _table(scored, key, metric) for name, key in keys.items()}
    for one in tables["kind"]:
        one["constant"] = constant([s for s in scored if s.utterance.kind == one["name"]], metric)
    return {n: rows for n, rows in tables.items() if len(rows) > (n == "task")}


def constant(scored: Sequence, metric) -> float | None:
    """Score of the one answer that scores best when it is given to everything; None for captions.

    What is not above it may have been answered without listening.
    """
    answers = {s.ref for s in scored}
    if len(answers) > MOST_ANSWERS or metric.many_references:
        return None
    totals = [np.sum([metric.stats(s.ref, one) for s in scored], 0) for one in sorted(answers)]
    best = min if metric.lower_is_better else max
    return best(float(metric.score(total)) for total in totals)


def _natural(name: str) -> tuple[tuple, str] | None:
    """Sort numbers by value, before other names."""
    if not name:
        return None
    return ((0, int(name), name) if name.isdecimal() else (1, 0, name)), name


def _duration(s) -> tuple[int, str] | None:
    seconds = s.utterance.duration
    return None if seconds is None else bins(seconds, DURATIONS_S, whole=False)


def _table(scored: Sequence, key: Callable, metric) -> list[dict]:
    groups: dict = {}
    for s in scored:
        name = key(s)
        if name is not None:
            groups.setdefault(name, []).append(s.stats)
    return [row(label, np.sum(groups[order, label], 0), len(groups[order, label]), metric)
            for order, label in sorted(groups)]  # fmt: skip


def row(label: str, total: np.ndarray, utterances: int, metric) -> dict:
    """Describe one part; `value` is None where the metric is undefined."""
    value = float(metric.score(total))
    return {
        "name": label,
        "value": None if np.isnan(value) else value,
        "utterances": utterances,
        "size": metric.size(total),
        **{
            name: int(n)
            for name, n in zip(metric.fields, total, strict=True)
            if name in metric.shown
        },
    }


def text(name: str, rows: list[dict]) -> str:
    """Lay out one table in aligned columns."""
    heads = [name.replace("_s", " [s]"), *(k for k in rows[0] if k != "name")]
    cells = [heads] + [[_cell(v) for v in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        first, *rest = (
            c.ljust(w) if k == 0 else c.rjust(w)
            for k, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]))
    return "\n".join(lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
