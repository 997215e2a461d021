"""One model, several tasks: is each instruction followed, and what did a phase do to each source?

EXP/following*/following.json      written by speechllm following; named after a phase, in order
EXP/log.jsonl                      validations of several manifests, of phases with valid_first
"""

import math
from collections.abc import Iterator
from pathlib import Path

from speechllm.report import checked
from speechllm.report.collect import Experiment

FOLLOWING = ("configuration", "answers", "asked for", "%", "95 %", "given instead")
CHANGES = ("configuration", "phase", "validated on", "perplexity before", "after")


def following(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """Yield a row for each instruction of each measurement.

    Raises:
        ValueError: a file that `speechllm following` did not write.
    """
    paths = sorted(experiment.folder.glob("following*/following.json")) if experiment.folder else []
    trained = list(experiment.phases())
    for path in sorted(paths, key=lambda path: _place(_name(path), trained)):
        try:
            entries = checked.following(path)
        except ValueError as error:
            raise ValueError(f"{error}; write it anew: speechllm following") from None
        yield from [_row(experiment.name, _name(path), entry) for entry in entries]


def _name(path: Path) -> str:
    return path.parent.name.removeprefix("following").strip("_") or "all"


def _place(name: str, trained: list[str]) -> int:
    return trained.index(name) if name in trained else len(trained)


def _row(experiment: str, name: str, entry: dict) -> tuple[str, ...]:
    low, high = entry["interval"]
    other = [f"{kind} {n}" for kind, n in entry["given"].items() if kind != entry["kind"]]
    numbers = f"{entry['rate']:.2f}", f"{low:.2f} to {high:.2f}"
    return experiment, name, entry["kind"], *numbers, ", ".join(other)


def changes(experiment: Experiment) -> Iterator[tuple[str, ...]]:
    """Yield the perplexity of each validation manifest before and after each phase."""
    for phase, log in experiment.phases().items():
        valid = [line for line in log if isinstance(line.get("valid"), dict)]
        if not valid or valid[0].get("step"):
            continue
        for name in valid[0]["valid"]:
            values = [_loss(line, name) for line in (valid[0], valid[-1])]
            if None not in values:
                shown = [f"{math.exp(min(value, 700.0)):.3f}" for value in values]
                yield experiment.name, phase, name, *shown


def _loss(line: dict, name: str) -> float | None:
    """Loss of language modelling of one validation manifest, None where a line has none."""
    losses = line["valid"].get(name)
    value = losses.get("language_modelling") if isinstance(losses, dict) else None
    return value if isinstance(value, int | float) else None
