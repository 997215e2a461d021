"""The frame of every page, and the one way by which values get into it.

    fill("<b>{}</b> of {n}", "<script>", n=3)  ->  "<b>&lt;script&gt;</b> of 3"

What is not `Html` already is escaped where it is put in, and `document` takes nothing else, so that
no text of a file, whoever made it, runs in a page.
"""

from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path


class Html(str):
    """Text that is markup; any other is escaped on its way into a page."""


def safe(value) -> Html:
    """Return markup as it is, and anything else as text that means nothing to a browser."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def fill(template: str, *values, **named) -> Html:
    """Put values into the {} of a template, which is markup; each value as `safe` has it."""
    return Html(
        template.format(*map(safe, values), **{key: safe(one) for key, one in named.items()})
    )


def join(parts: Iterable, gap: str = "") -> Html:
    """Put parts one after the other, each as `safe` has it."""
    return Html(gap.join(map(safe, parts)))


@cache
def asset(name: str) -> str:
    """Text of a file of this folder that goes into pages, as page.css."""
    return (Path(__file__).parent / name).read_text("utf-8")


def document(title: str, body: Html, script: str = "", css: str = "") -> Html:
    """Wrap a body into a whole page that needs no other file; `script` and `css` are ours."""
    assert isinstance(body, Html), "a page is made of what was escaped"
    return fill(
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>{}</title>\n<style>\n{}</style>\n<body>\n{}\n{}</body>\n</html>\n",
        title,
        Html(asset("page.css") + css),
        body,
        Html(f"<script>\n{script}</script>\n" if script else ""),
    )


def headline(value: float, name: str, interval, note: str) -> Html:
    """Write the number that matters, large, with its interval and a note beside it."""
    low, high = interval
    if value != value:
        return fill('<p class="headline"><b>{}</b> <span>undefined: {}</span></p>', name, note)
    return fill(
        '<p class="headline"><b>{}&thinsp;% {}</b> <span>95 % between {} and {}; {}</span></p>',
        f"{value:.2f}",
        name,
        f"{low:.2f}",
        f"{high:.2f}",
        note,
    )
