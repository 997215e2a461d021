"""The report as one HTML page: results first, then what happened in training, in pictures."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from speechllm.report import (
    adapters,
    collect,
    confusions,
    listening,
    markdown,
    pairs,
    seeds,
    svg,
    tasks,
    together,
    worst,
)
from speechllm.report.collect import Experiment, Score
from speechllm.score.pages import alignments, frame
from speechllm.score.pages.frame import Html, fill, join

MOST_BARS = 60
ONE_COLUMN = 12
METRICS = {"duration_s": "by duration", "words": "by words of the reference",
           "characters": "by characters of the reference", "task": "by task",
           "kind": "by kind of question"}  # fmt: skip


def write(experiments: list[Experiment], title: str, out: Path | None = None) -> Html:
    """Write the page; links to alignments are relative to the folder of `out`."""
    body = [fill("<h1>{}</h1>", title), _summary(experiments), *_tables(experiments)]
    body += [_section(e, out) for e in experiments if e.state != "not run"]
    body.append(
        Html("<footer>Written by speechllm report from the files of the experiments.</footer>")
    )
    css, script = (
        (Path(__file__).parent / f"report.{kind}").read_text("utf-8") for kind in ("css", "js")
    )
    return frame.document(title, join(body, "\n"), script, css)


def _summary(experiments: list[Experiment]) -> Html:
    right = (3, 4, 5)
    heads = join(_cell("th", k, h, right) for k, h in enumerate(markdown.HEADS))
    rows = []
    for experiment in experiments:
        style = Html("" if experiment.state == "scored" else ' class="not-run"')
        for row in markdown.summary(experiment):
            cells = [_cell("td", k, t.replace("`", ""), right) for k, t in enumerate(row)]
            rows.append(fill("<tr{}>{}</tr>", style, join(cells)))
    return fill('<div class="scroll"><table><tr>{}</tr>\n{}</table></div>', heads, join(rows))


def _tables(experiments: list[Experiment]) -> Iterator[Html]:
    """Write what sets experiments side by side; nothing of what there is none of."""
    if rows := seeds.rows(experiments):
        yield fill("<h2>{}</h2>{}", seeds.TITLE, _table(seeds.HEADS, rows))
    if rows := adapters.rows(experiments):
        yield fill("<h2>{}</h2>{}", adapters.TITLE, _table(adapters.HEADS, rows))
    if rows := pairs.rows(experiments):
        yield fill("<h2>Paired tests</h2>{}", _table(pairs.HEADS, rows))
    if charts := [*together.lengths(experiments), *together.curves(experiments)]:
        yield fill("<h2>Side by side</h2>{}", _charts(charts))
    named = listening.rows, tasks.following, tasks.changes, together.cost
    heads = listening.HEADS, tasks.FOLLOWING, tasks.CHANGES, together.COST
    titles = "Does it listen?", "Does it do what is asked?", "What each phase changed", "Cost"
    for title, head, rows_of in zip(titles, heads, named, strict=True):
        if rows := [row for experiment in experiments for row in rows_of(experiment)]:
            yield fill("<h2>{}</h2>{}", title, _table(head, rows))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Html:
    right = tuple(k for k, head in enumerate(heads) if head in markdown.RIGHT)
    lines = [
        fill("<tr>{}</tr>", join(_cell(tag, k, text, right) for k, text in enumerate(cells)))
        for tag, cells in (("th", heads), *(("td", row) for row in rows))
    ]
    return fill('<div class="scroll"><table>{}</table></div>', join(lines, "\n"))


def _cell(tag: str, k: int, text: str, right: tuple[int, ...]) -> Html:
    style = Html(' class="n"' if k in right else "")
    return fill("<{tag}{style}>{text}</{tag}>", tag=tag, style=style, text=text)


def _section(experiment: Experiment, out: Path | None) -> Html:
    parts = [fill("<h2>{}</h2>", experiment.name)]
    parts += [_score(score, out) for score in experiment.scores]
    if facts := collect.facts(experiment):
        parts += [Html("<h3>How it was trained</h3>"), _facts(facts)]
    if charts := _training(experiment):
        parts += [Html("<h3>Training and validation loss</h3>"), _charts(charts)]
    if charts := _health(experiment):
        parts += [Html("<h3>Does the language model listen?</h3>"), _charts(charts)]
    return fill("<section>{}</section>", join(parts))


def _score(score: Score, out: Path | None) -> Html:
    values = score.values
    name = score.label
    value = float("nan") if values.get("value") is None else values["value"]
    low, high = (float("nan") if v is None else v for v in values.get("ci95", (None, None)))
    counts = values.get("counts", {})
    note = f"{collect.set_name(score)}, {counts.get('utterances', '?')} utterances"
    said = [values["line"], score.rows, *values.get("warnings", ())]
    parts = [
        frame.headline(value, name, (low, high), note),
        fill("<pre>{}</pre>", "\n".join(filter(None, said))),
        _faults(counts, score, out),
    ]
    if facts := collect.decode_facts(score):
        parts.append(_facts(facts))
    parts.append(_charts(_groups(values.get("tables") or {}, name)))
    utterances = worst.read(score.folder / "alignments.txt")
    if rows := confusions.rows(utterances):
        parts += [Html("<h3>Most frequent errors</h3>"), _table(confusions.HEADS, rows)]
    parts.append(worst.section(score, utterances))
    return join(parts, "\n")


def _faults(counts: dict, score: Score, out: Path | None) -> Html:
    """Name the faults that occurred, and link to the alignments where there are any."""
    present = [f"{text} {counts[k]}" for k, text in alignments.LABELS.items() if counts.get(k)]
    text = "No loops, bursts, empties"
    if present:
        text = "Utterances with faults: " + ", ".join(present)
    link = Html("")
    page = score.folder / "alignments.html"
    if out is not None and page.exists():
        href = Path(_relative(page, out.parent)).as_posix()
        link = fill(' <a href="{}">Alignments</a>', href)
    return fill('<p class="soft">{}.{}</p>', text, link)


def _relative(path: Path, start: Path) -> str:
    from os.path import relpath

    return relpath(path.resolve(), start.resolve())


def _facts(facts: dict[str, str]) -> Html:
    return fill("<dl>{}</dl>", join(fill("<dt>{}</dt><dd>{}</dd>", *f) for f in facts.items()))


def _charts(figures: Iterable[tuple[Html, Html]]) -> Html:
    figure = "<figure><figcaption>{}</figcaption>{}</figure>"
    return fill('<div class="charts">{}</div>', join(fill(figure, *f) for f in figures if f[1]))


def _groups(tables: dict, name: str) -> list[tuple[Html, Html]]:
    """Draw the metric by length and, sorted, by speaker."""
    figures = []
    for table, caption in METRICS.items():
        rows = [r for r in tables.get(table, ()) if r["value"] is not None]
        if rows:
            unit = " [s]" if table == "duration_s" else ""
            figures.append((fill("<b>{} in %</b> {}{}", name, caption, unit), _bars(rows)))
    rows = [r for r in tables.get("speaker", ()) if r["value"] is not None]
    rows.sort(key=lambda r: -r["value"])
    more = f", the {MOST_BARS} highest of {len(rows)}" if len(rows) > MOST_BARS else ""
    rows = rows[:MOST_BARS]
    half = len(rows) if len(rows) <= ONE_COLUMN else (len(rows) + 1) // 2
    captions = (fill("<b>{} in %</b> by speaker{}", name, more), Html("&nbsp;"))
    for caption, part in zip(captions, (rows[:half], rows[half:]), strict=True):
        if part:
            figures.append((caption, _bars(part, rows[0]["value"])))
    return figures


def _bars(rows: list[dict], most: float = 0.0) -> Html:
    return svg.bars([(r["name"], r["value"], f"of {r['size']:,}") for r in rows], "%", most)


def _training(experiment: Experiment) -> list[tuple[Html, Html]]:
    """Draw training and validation loss, a chart a phase."""
    figures = []
    for phase, log in experiment.phases().items():
        trained = collect.curve(log, "loss")
        valid = collect.curve(log, "valid", "loss")
        chart = svg.lines(
            [svg.Line("training", *trained, 0), svg.Line("validation", *valid, 1, dots=True)],
            "step",
        )
        steps = max((row.get("step", 0) for row in log), default=0)
        figures.append((fill("<b>{}</b>, {} steps", phase, f"{steps:,}"), chart))
    return figures


def _health(experiment: Experiment) -> list[tuple[Html, Html]]:
    """Draw the loss on real, shuffled and silent audio, and the norms, a chart a phase each."""
    figures = []
    for phase, log in experiment.phases().items():
        log = [row if "health" in row else {**row, **row.get("valid", {})} for row in log]
        losses = [
            svg.Line(key, *collect.curve(log, "health", key), kind, dots=True)
            for kind, key in enumerate(("real", "shuffled", "silent"))
        ]
        norms = [
            svg.Line(text, *collect.curve(log, "health", key), kind, dots=True)
            for kind, (key, text) in enumerate((("soft_norm", "speech"), ("text_norm", "text")))
        ]
        captions = "loss on real, shuffled and silent audio", "norm of soft tokens and of text"
        for caption, curves in zip(captions, (losses, norms), strict=True):
            figures.append((fill("<b>{}</b>, {}", phase, caption), svg.lines(curves, "step")))
    return [figure for figure in figures if figure[1]]
