"""How right words of a confidence are: a picture, before and after the temperature that fits."""

from pathlib import Path

from speechllm.report import svg
from speechllm.score import counting
from speechllm.score.metrics import calibration
from speechllm.score.pages import frame
from speechllm.score.pages.frame import Html, fill, join


def page(result) -> Html:
    """Write the page of a score by the metric `calibration`."""
    metric, total = counting.named(result.metric), list(result.total.values())[1:]
    bins = metric.reliability(total)
    x, y, words = zip(*bins, strict=True) if bins else ((), (), ())
    curves = [
        svg.Line("calibrated", (0, 100), (0, 100), 1),
        svg.Line("words", [100 * one for one in x], [100 * one for one in y], 0, dots=True),
    ]
    if bins:
        after = calibration.refitted(total)
        curves.append(svg.Line("fitted", [100 * a for a, _, _ in after],
                               [100 * b for _, b, _ in after], 2, dots=True))  # fmt: skip
    body = [
        fill("<h1>Confidence of words</h1><p>{}</p>", result.line),
        svg.lines(curves, "confidence in percent; upwards: share of right words"),
        fill("<p>Words of each point: {}.</p>", ", ".join(map(str, words))),
    ]
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    return frame.document("Confidence of words", join(body, "\n"), css=css)
