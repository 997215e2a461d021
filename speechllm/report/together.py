"""Experiments side by side: curves over each other, errors by length, cost."""

import re
from collections.abc import Iterator

from speechllm.report import collect, svg
from speechllm.report.collect import Experiment, Score
from speechllm.score.pages.frame import Html, fill

COST = ("configuration", "training", "audio seen", "audio s per s", "peak memory", "energy",
        "FLOPs", "MFU", "decoding, audio s per s")  # fmt: skip
LOSSES = {"validation": ("valid", "loss"), "training": ("loss",)}
LINE_HEIGHT = 13  # of a name at the end of a curve


def curves(experiments: list[Experiment]) -> Iterator[tuple[Html, Html]]:
    """Draw the losses of each phase that several experiments have: (caption, picture)."""
    logs: dict[str, list[tuple[str, list[dict]]]] = {}
    for experiment in experiments:
        for phase, log in experiment.phases().items():
            logs.setdefault(phase, []).append((experiment.name, log))
    for phase, some in logs.items():
        for what, keys in LOSSES.items():
            drawn = [(name, *collect.curve(log, *keys)) for name, log in some]
            lines = [
                svg.Line(name, x, y, kind, dots=what == "validation")
                for kind, (name, x, y) in enumerate(line for line in drawn if line[1])
            ]
            if len(lines) > 1:
                yield _figure(f"{what} loss", phase, svg.lines(lines, "step", **_size(lines)))


def lengths(experiments: list[Experiment]) -> Iterator[tuple[Html, Html]]:
    """Draw the metric over the length of utterances, a line an experiment: (caption, picture)."""
    for (set_name, metric, *_), scores in by_set(experiments).items():
        tables = {name: rows for name, score in scores if (rows := _durations(score))}
        if len(tables) < 2:
            continue
        bins = sorted({name for rows in tables.values() for name in rows}, key=_begin)
        lines = []
        for kind, (name, rows) in enumerate(tables.items()):
            places = [k for k, one in enumerate(bins) if one in rows]
            lines.append(svg.Line(name, places, [rows[bins[k]] for k in places], kind, dots=True))
        picture = svg.lines(lines, "length in seconds", x_names=bins, **_size(lines))
        yield _figure(f"{metric} in %", f"by length, {set_name}", picture)


def by_set(experiments: list[Experiment]) -> dict[tuple[str, ...], list[tuple[str, Score]]]:
    """Group scores that may be compared: {(set, metric, ...): [(name of the experiment, score)]}.

    They are of real sound, one manifest and one normaliser.
    """
    groups: dict[tuple[str, ...], list[tuple[str, Score]]] = {}
    for experiment in experiments:
        for score in experiment.scores:
            values = score.values
            if score.heard == "real" and values.get("metric") and values.get("value") is not None:
                named = collect.set_name(score), collect.metric_name(values)
                alike = normaliser(score), str(values.get("manifest_sha256", ""))
                groups.setdefault((*named, *alike), []).append((experiment.name, score))
    return groups


def normaliser(score: Score) -> str:
    """Name the normaliser of a score; "" where each language has its own."""
    said = re.search(r"(?:^|\|)norm=([^|:]*)([^|]*)", str(score.values.get("signature", "")))
    return said[1] if said and "+" not in said[2] else ""


def cost(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """Yield what an experiment took; cells of what nobody measured are empty."""
    run = experiment.run
    rates = {collect.set_name(score): score.decode.get("rtfx") for score in experiment.scores}
    decoding = ", ".join(f"{name} {rate:g}" for name, rate in rates.items() if rate)
    seconds, audio = run.get("seconds"), run.get("audio_s")
    shown = (
        collect.duration(seconds) if seconds else "",
        f"{audio / 3600:.2f} h" if audio else "",
        f"{audio / seconds:.1f}" if audio and seconds else "",
        f"{run['peak_memory_mb']:,} MB" if "peak_memory_mb" in run else "",
        f"{run['energy_j'] / 3.6e6:.3g} kWh" if run.get("energy_j") else "",
        f"{run['tflop'] * 1e12:.2e}" if run.get("tflop") else "",
        f"{100 * run['mfu']:.1f} %" if run.get("mfu") else "",
        decoding,
    )
    if any(shown):
        yield experiment.name, *shown


def _durations(score: Score) -> dict[str, float]:
    rows = (score.values.get("tables") or {}).get("duration_s", ())
    return {row["name"]: row["value"] for row in rows if row["value"] is not None}


def _begin(name: str) -> float:
    """Where a part begins: 2 of "2-5"; "> 60" is behind all others."""
    digits = re.match(r"\d+", name)
    return int(digits[0]) if digits else float("inf")


def _size(lines: list) -> dict[str, int]:
    """Let the names of many curves have their room."""
    widest = max(len(line.name) for line in lines)
    return {"height": max(230, 60 + LINE_HEIGHT * len(lines)), "width": 380 + 7 * max(widest, 9),
            "right": 14 + 7 * max(widest, 9)}  # fmt: skip


def _figure(what: str, of: str, picture: Html) -> tuple[Html, Html]:
    return fill("<b>{}</b> {}", what, of), picture
