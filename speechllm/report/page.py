"""The report as one HTML page: results first, then what happened in training, in pictures."""

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from speechllm.report import collect, listening, markdown, svg, tasks
from speechllm.report.collect import Experiment, Score
from speechllm.score import counting
from speechllm.score.pages import alignments, frame

MOST_BARS = 60
ONE_COLUMN = 12
METRICS = {"duration_s": "by duration", "words": "by words of the reference",
           "characters": "by characters of the reference", "task": "by task",
           "kind": "by kind of question"}  # fmt: skip


def write(experiments: list[Experiment], title: str, out: Path | None = None) -> str:
    """Write the page; links to alignments are relative to the folder of `out`."""
    body = [f"<h1>{escape(title)}</h1>", _summary(experiments), *_tables(experiments)]
    body += [_section(e, out) for e in experiments if e.state != "not run"]
    body.append("<footer>Written by speechllm report from the files of the experiments.</footer>")
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    return frame.document(title, "\n".join(body), css=css)


def _summary(experiments: list[Experiment]) -> str:
    right = (3, 4, 5)
    heads = "".join(_cell("th", k, h, right) for k, h in enumerate(markdown.HEADS))
    rows = []
    for experiment in experiments:
        for row in markdown.summary(experiment):
            texts = [t.replace("`", "") for t in row]
            style = ' class="not-run"' if experiment.state != "scored" else ""
            cells = "".join(_cell("td", k, t, right) for k, t in enumerate(texts))
            rows.append(f"<tr{style}>{cells}</tr>")
    return f'<div class="scroll"><table><tr>{heads}</tr>\n{"".join(rows)}</table></div>'


def _tables(experiments: list[Experiment]) -> Iterator[str]:
    """Write what sets experiments side by side; nothing of what there is none of."""
    named = (lambda e: listening.rows(e, markdown.set_name)), tasks.following, tasks.changes
    heads = listening.HEADS, tasks.FOLLOWING, tasks.CHANGES
    titles = "Does it listen?", "Does it do what is asked?", "What each stage changed"
    for title, head, rows_of in zip(titles, heads, named, strict=True):
        if rows := [row for experiment in experiments for row in rows_of(experiment)]:
            yield f"<h2>{title}</h2>{_table(head, rows)}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    right = tuple(k for k, head in enumerate(heads) if head in markdown.RIGHT)
    lines = [
        "".join(_cell(tag, k, text, right) for k, text in enumerate(cells))
        for tag, cells in (("th", heads), *(("td", row) for row in rows))
    ]
    table = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table>{table}</table></div>'


def _cell(tag: str, k: int, text: str, right: tuple[int, ...]) -> str:
    style = ' class="n"' if k in right else ""
    return f"<{tag}{style}>{escape(text)}</{tag}>"


def _section(experiment: Experiment, out: Path | None) -> str:
    parts = [f"<h2>{escape(experiment.name)}</h2>"]
    parts += [_score(score, out) for score in experiment.scores]
    if facts := collect.facts(experiment):
        parts += ["<h3>How it was trained</h3>", _facts(facts)]
    if charts := _training(experiment):
        parts += ["<h3>Training and validation loss</h3>", _charts(charts)]
    if charts := _health(experiment):
        parts += ["<h3>Does the language model listen?</h3>", _charts(charts)]
    return f"<section>{''.join(parts)}</section>"


def _score(score: Score, out: Path | None) -> str:
    values = score.values
    name = counting.named(values["metric"]).label if values.get("metric") else ""
    value = float("nan") if values.get("value") is None else values["value"]
    low, high = (float("nan") if v is None else v for v in values.get("ci95", (None, None)))
    counts = values.get("counts", {})
    note = f"{markdown.set_name(score)}, {counts.get('utterances', '?')} utterances"
    parts = [
        frame.headline(value, name, (low, high), note),
        f"<pre>{escape(values['line'])}</pre>",
        _faults(counts, score, out),
    ]
    if facts := collect.decode_facts(score):
        parts.append(_facts(facts))
    parts.append(_charts(_groups(values.get("tables", {}), name)))
    return "\n".join(parts)


def _faults(counts: dict, score: Score, out: Path | None) -> str:
    """Name the faults that occurred, and link to the alignments where there are any."""
    found = [f"{text} {counts[k]}" for k, text in alignments.LABELS.items() if counts.get(k)]
    text = "Utterances with faults: " + ", ".join(found) if found else "No loops, bursts, empties"
    link = ""
    page = score.folder / "alignments.html"
    if out is not None and page.exists():
        href = escape(Path(_relative(page, out.parent)).as_posix())
        link = f' <a href="{href}">Alignments</a>'
    return f'<p class="soft">{text}.{link}</p>'


def _relative(path: Path, start: Path) -> str:
    from os.path import relpath

    return relpath(path.resolve(), start.resolve())


def _facts(facts: dict[str, str]) -> str:
    rows = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def _charts(figures: Iterable[tuple[str, str]]) -> str:
    drawn = (
        f"<figure><figcaption>{caption}</figcaption>{chart}</figure>"
        for caption, chart in figures
        if chart
    )
    return f'<div class="charts">{"".join(drawn)}</div>'


def _groups(tables: dict, name: str) -> list[tuple[str, str]]:
    """Draw the metric by length and, sorted, by speaker."""
    figures = []
    for table, caption in METRICS.items():
        rows = [r for r in tables.get(table, ()) if r["value"] is not None]
        if rows:
            unit = " [s]" if table == "duration_s" else ""
            figures.append((f"<b>{name} in %</b> {caption}{unit}", _bars(rows)))
    rows = [r for r in tables.get("speaker", ()) if r["value"] is not None]
    rows.sort(key=lambda r: -r["value"])
    more = f", the {MOST_BARS} highest of {len(rows)}" if len(rows) > MOST_BARS else ""
    rows = rows[:MOST_BARS]
    half = len(rows) if len(rows) <= ONE_COLUMN else (len(rows) + 1) // 2
    captions = (f"<b>{name} in %</b> by speaker{more}", "&nbsp;")
    for caption, part in zip(captions, (rows[:half], rows[half:]), strict=True):
        if part:
            figures.append((caption, _bars(part, rows[0]["value"])))
    return figures


def _bars(rows: list[dict], most: float = 0.0) -> str:
    return svg.bars([(r["name"], r["value"], f"of {r['size']:,}") for r in rows], "%", most)


def _training(experiment: Experiment) -> list[tuple[str, str]]:
    """Draw training and validation loss, a chart a stage."""
    figures = []
    for stage, log in experiment.stages().items():
        trained = _curve(log, "loss")
        valid = _curve(log, "valid", "loss")
        chart = svg.lines(
            [svg.Line("training", *trained, 0), svg.Line("validation", *valid, 1, dots=True)],
            "step",
        )
        steps = max((row.get("step", 0) for row in log), default=0)
        figures.append((f"<b>{escape(stage)}</b>, {steps:,} steps", chart))
    return figures


def _health(experiment: Experiment) -> list[tuple[str, str]]:
    """Draw the loss on real, shuffled and silent audio, and the norms, a chart a stage each."""
    figures = []
    for stage, log in experiment.stages().items():
        log = [row if "health" in row else {**row, **row.get("valid", {})} for row in log]
        losses = [
            svg.Line(key, *_curve(log, "health", key), kind, dots=True)
            for kind, key in enumerate(("real", "shuffled", "silent"))
        ]
        norms = [
            svg.Line(text, *_curve(log, "health", key), kind, dots=True)
            for kind, (key, text) in enumerate((("soft_norm", "speech"), ("text_norm", "text")))
        ]
        name = f"<b>{escape(stage)}</b>, "
        figures.append(
            (name + "loss on real, shuffled and silent audio", svg.lines(losses, "step"))
        )
        figures.append((name + "norm of soft tokens and of text", svg.lines(norms, "step")))
    return [figure for figure in figures if figure[1]]


def _curve(log: list[dict], *keys: str) -> tuple[list[float], list[float]]:
    """Collect (steps, values) of a number in the log; what is absent or not finite is left out."""
    x, y = [], []
    for row in log:
        value = row
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and abs(value) < float("inf"):
            x.append(row.get("step", 0))
            y.append(value)
    return x, y
