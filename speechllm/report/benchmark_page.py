"""The tables of a benchmark as files: text, Markdown, LaTeX, one HTML page, CSV a table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from speechllm import files
from speechllm.report import layouts, svg
from speechllm.report.benchmark import Entry
from speechllm.report.layouts import Table
from speechllm.score.pages import frame
from speechllm.score.pages.frame import Html, fill, join


def write(tables: Sequence[Table], out: Path, facts: Mapping[str, str], entries=()) -> None:
    """Write all tables in all layouts: OUT/benchmark.txt, .md, .tex, .html and OUT/tables/*.csv."""
    shown = [f"{key}: {value}" for key, value in facts.items()]
    plain = [*(layouts.text(table) for table in tables), "\n".join(shown)]
    marked = ["# Benchmark", *(layouts.markdown(table) for table in tables)]
    marked += ["Written by `speechllm benchmark`; not edited by hand.", "\n".join(
        f"- {line}".replace("<", "&lt;") for line in shown)]  # fmt: skip
    files.write_text(out / "benchmark.txt", "\n\n".join(plain) + "\n")
    files.write_text(out / "benchmark.md", "\n\n".join(marked) + "\n")
    files.write_text(out / "benchmark.tex", "\n".join(map(layouts.latex, tables)))
    files.write_text(out / "benchmark.html", _page(tables, facts, entries))
    for table in tables:
        files.write_text(out / "tables" / f"{table.slug}.csv", layouts.comma(table))


def _page(tables: Sequence[Table], facts: Mapping[str, str], entries: Sequence[Entry]) -> Html:
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    parts = [Html("<h1>Benchmark</h1>"), *_charts(entries), *map(layouts.html, tables)]
    known = join(fill("<dt>{}</dt><dd>{}</dd>", *fact) for fact in facts.items())
    parts += [fill("<dl>{}</dl>", known), Html("<footer>Written by speechllm benchmark.</footer>")]
    return frame.document("Benchmark", join(parts, "\n"), css=css)


def _charts(entries: Sequence[Entry]) -> list[Html]:
    """Draw the error rates of each set."""
    figures = []
    for split in dict.fromkeys(entry.split for entry in entries):
        good = [e for e in entries if e.split == split and e.scores and e.main.value >= 0]
        bars = [(e.name, e.main.value, f"of {e.main.total['size']:,}") for e in good]
        if bars:
            caption = fill("<b>{} in %</b> {}", good[0].main.label, split)
            figure = "<figure><figcaption>{}</figcaption>{}</figure>"
            figures.append(fill(figure, caption, svg.bars(bars, "%")))
    return [fill('<div class="charts">{}</div>', join(figures))] if figures else []
