"""The frame of every page: one file without others, its style inside, the headline."""

from functools import cache
from html import escape
from pathlib import Path


@cache
def asset(name: str) -> str:
    """Text of a file of this folder that goes into pages, as page.css."""
    return (Path(__file__).parent / name).read_text("utf-8")


def document(title: str, body: str, script: str = "", css: str = "") -> str:
    """Wrap a body into a whole page that needs no other file."""
    script = f"<script>\n{script}</script>\n" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{asset('page.css')}{css}</style>\n"
        f"<body>\n{body}\n{script}</body>\n</html>\n"
    )


def headline(value: float, name: str, interval, note: str) -> str:
    """Write the number that matters, large, with its interval and a note beside it."""
    low, high = interval
    if value != value:
        return f'<p class="headline"><b>{name}</b> <span>undefined: {escape(note)}</span></p>'
    return (
        f'<p class="headline"><b>{value:.2f}&thinsp;% {name}</b> '
        f"<span>95 % between {low:.2f} and {high:.2f}; {escape(note)}</span></p>"
    )
