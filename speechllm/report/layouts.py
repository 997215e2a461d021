"""One table in five layouts: text, Markdown, LaTeX, CSV, HTML.

A cell is text; the first columns are names, `right` says which are numbers.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from speechllm.score.pages.frame import Html, fill, join

_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_TEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


@dataclass(frozen=True)
class Table:
    """A table: title, heads, rows of as many cells each, and a note that stands below it.

    names: so many columns, the first, are names; the others are numbers, set to the right.
    """

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: int = 1
    note: str = ""

    @property
    def slug(self) -> str:
        """A name for a file."""
        return re.sub(r"\W+", "_", self.title.lower()).strip("_")


def text(table: Table) -> str:
    """Lay out in aligned columns."""
    cells = [table.heads, *table.rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [table.title, ""]
    for row in cells:
        pairs = enumerate(zip(row, widths, strict=True))
        padded = (c.ljust(w) if k < table.names else c.rjust(w) for k, (c, w) in pairs)
        lines.append("  ".join(padded).rstrip())
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def markdown(table: Table) -> str:
    """Lay out as GitHub's Markdown."""
    rule = ["---" if k < table.names else "---:" for k in range(len(table.heads))]
    lines = (map(_plain, row) for row in (table.heads, rule, *table.rows))
    shown = "\n".join("| " + " | ".join(row) + " |" for row in lines)
    note = f"\n\n{_plain(table.note)}" if table.note else ""
    return f"## {_plain(table.title)}\n\n{shown}{note}\n"


def latex(table: Table) -> str:
    """Lay out as a LaTeX table; it wants the package booktabs."""
    columns = "l" * table.names + "r" * (len(table.heads) - table.names)
    heads, *rows = (" & ".join(map(_tex, row)) + r" \\" for row in (table.heads, *table.rows))
    lines = [r"\begin{table}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heads, r"\midrule"]
    lines += [*rows, r"\bottomrule", r"\end{tabular}"]
    caption = _tex(f"{table.title}. {table.note}".strip())
    return "\n".join([*lines, rf"\caption{{{caption}}}", r"\end{table}"]) + "\n"


def comma(table: Table) -> str:
    """Lay out as CSV, for programs: heads and rows alone."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.heads, *table.rows])
    return file.getvalue()


def html(table: Table) -> Html:
    """Lay out as a part of a page."""
    lines = [
        fill("<tr>{}</tr>", join(_cell(tag, k >= table.names, c) for k, c in enumerate(row)))
        for tag, row in (("th", table.heads), *(("td", row) for row in table.rows))
    ]
    note = fill('<p class="soft">{}</p>', table.note) if table.note else ""
    shown = fill('<div class="scroll"><table>{}</table></div>', join(lines, "\n"))
    return fill("<h2>{}</h2>{}{}", table.title, shown, note)


def _cell(tag: str, is_number: bool, content: str) -> Html:
    style = Html(' class="n"' if is_number else "")
    return fill("<{tag}{style}>{content}</{tag}>", tag=tag, style=style, content=content)


def _plain(content: str) -> str:
    """Let a text be one cell, and no markup."""
    return content.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _tex(content: str) -> str:
    """Let a text mean nothing to TeX."""
    return "".join(_TEX.get(sign, sign) for sign in content)
