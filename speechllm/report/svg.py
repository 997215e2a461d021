"""Charts as inline SVG: lines over steps, bars over groups. No library, no script, any theme.

Colours are classes (`.k0`, `.k1`, ... in report.css), so a chart follows light, dark and print.
Lines are named where they end, not in a legend, and differ in dash as well as in colour.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from speechllm.score.pages.frame import Html

LEFT, RIGHT, TOP, BOTTOM = 46, 74, 12, 34
MOST_POINTS = 300
KINDS = 6  # colours and dashes, after which they come again


@dataclass(frozen=True)
class Line:
    """One curve: its name, its points, its class of colour and dash, dots at the points or not."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: int = 0
    dots: bool = False


def ticks(low: float, high: float, number: int = 4) -> list[float]:
    """Choose about `number` round values that span low..high, the first at or below `low`."""
    # 0 to 7 by four: 1.75 a step, the next round one is 2, so 0 2 4 6 8
    span = high - low or abs(high) or 1.0
    raw = span / number
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def label(value: float) -> str:
    """Write an axis value shortly: 0.25, 3, 12k."""
    if abs(value) >= 10000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def thin(x: Sequence[float], y: Sequence[float], most: int = MOST_POINTS):
    """Average neighbours until at most `most` points are left."""
    width = math.ceil(len(x) / most)
    if width <= 1:
        return list(x), list(y)
    cuts = range(0, len(x), width)
    return (
        [sum(x[k : k + width]) / len(x[k : k + width]) for k in cuts],
        [sum(y[k : k + width]) / len(y[k : k + width]) for k in cuts],
    )


def lines(
    curves: Sequence[Line],
    x_label: str,
    width: int = 440,
    height: int = 230,
    right: int = RIGHT,
    x_names: Sequence[str] = (),
) -> Html:
    """Draw curves over a common x >= 0, the y axis from zero.

    Args:
        curves: those without a point are left out.
        x_label: stands below the x axis.
        width, height: of the picture.
        right: of the width, for the names of the curves.
        x_names: of the places 0, 1, ... of the x axis, where it has names and no numbers.
    """
    curves = [c for c in curves if len(c.x)]
    if not curves:
        return Html("")
    x_most = max(max(c.x) for c in curves)
    x_ticks = dict(enumerate(x_names))
    x_ticks = x_ticks or {v: label(v) for v in ticks(0, x_most) if v <= x_most}
    y_ticks = ticks(min(0.0, min(min(c.y) for c in curves)), max(max(c.y) for c in curves))
    to_x = _scale(0, x_most, LEFT, width - right)
    to_y = _scale(y_ticks[0], y_ticks[-1], height - BOTTOM, TOP)
    parts = _grid(x_ticks, y_ticks, to_x, to_y, (LEFT, width - right, height), x_label)
    ends = []
    for curve in curves:
        x, y = thin(curve.x, curve.y)
        points = [(to_x(a), to_y(b)) for a, b in zip(x, y, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        kind = curve.kind % KINDS
        parts.append(f'<polyline class="line k{kind}" points="{path}"/>')
        if curve.dots or len(points) == 1:
            dots = (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in points)
            parts.append(f'<g class="dots k{kind}">{"".join(dots)}</g>')
        ends.append((points[-1][1], curve, points[-1][0]))
    parts += _names(ends, height - BOTTOM)
    return _svg(parts, width, height, " and ".join(c.name for c in curves))


def bars(
    rows: Sequence[tuple[str, float, str]], unit: str, most: float = 0.0, width: int = 440
) -> str:
    """Draw horizontal bars: (label, value, note) each; the axis reaches to `most` at least."""
    step, left, right = 20, 8 + 7 * max(len(r[0]) for r in rows), 118
    top = ticks(0, max(max(r[1] for r in rows), most, 1e-9), 3)
    to_x = _scale(0, top[-1], left, width - right)
    height = step * len(rows) + 24
    parts = []
    for value in top:
        x = to_x(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 20}"/>')
        text = label(value) + (f" {unit}" if value == top[-1] else "")
        parts.append(f'<text x="{x:.1f}" y="{height - 5}" text-anchor="middle">{text}</text>')
    for k, (name, value, note) in enumerate(rows):
        y = step * k
        parts.append(f'<text class="name" x="{left - 8}" y="{y + 14}" text-anchor="end">'
                     f"{escape(name)}</text>")  # fmt: skip
        parts.append(f'<rect class="bar" x="{left}" y="{y + 4}" height="{step - 8}" '
                     f'width="{max(to_x(value) - left, 0.5):.1f}"/>')  # fmt: skip
        parts.append(f'<text class="value" x="{width - 66}" y="{y + 14}" text-anchor="end">'
                     f"{value:.2f}</text>")  # fmt: skip
        parts.append(f'<text x="{width}" y="{y + 14}" text-anchor="end">{escape(note)}</text>')
    return _svg(parts, width, height, f"{len(rows)} bars, {unit}")


def _scale(low: float, high: float, start: float, end: float):
    factor = (end - start) / ((high - low) or 1)
    return lambda value: start + (value - low) * factor


def _grid(x_ticks: dict, y_ticks, to_x, to_y, edges: tuple, x_label) -> list[str]:
    parts, (left, right, height) = [], edges
    for value in y_ticks:
        y = to_y(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" '
                     f'y1="{y:.1f}" y2="{y:.1f}"/>')  # fmt: skip
        parts.append(
            f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end">{label(value)}</text>'
        )
    for value, name in x_ticks.items():
        parts.append(f'<text x="{to_x(value):.1f}" y="{height - BOTTOM + 15}" '
                     f'text-anchor="middle">{escape(name)}</text>')  # fmt: skip
    middle = (left + right) / 2
    parts.append(
        f'<text x="{middle}" y="{height - 3}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return parts


def _names(ends: list[tuple[float, Line, float]], bottom: float) -> list[str]:
    """Name each curve at its end, at least 13 from each other, all within the picture."""
    # y grows downwards: the largest is the lowest name, and each next one stands above it
    ends, places, last = sorted(ends, key=lambda end: -end[0]), [], bottom + 7.0
    for y, _, _ in ends:
        last = min(y, last - 13)
        places.append(last)
    least = float(TOP)
    for k in reversed(range(len(ends))):  # what was pushed out at the top comes down again
        places[k] = max(places[k], least)
        least = places[k] + 13
    return [
        f'<text class="name k{curve.kind % KINDS}" x="{x + 7:.1f}" y="{place + 4:.1f}">'
        f"{escape(curve.name)}</text>"
        for (_, curve, x), place in zip(ends, places, strict=True)
    ]


def _svg(parts: list[str], width: int, height: int, what: str) -> Html:
    body = "\n".join(parts)
    return Html(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(what)}">\n{body}\n</svg>'
    )
