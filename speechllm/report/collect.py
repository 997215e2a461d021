"""What an experiment left behind: its training facts, log and scores, read as they stand.

    EXP/run.json                       written by train: command, commit, seed, hardware, ...
    EXP/log.jsonl                      one object a step or validation
    EXP/**/score*/score.json           written by score, at most two folders deep
    EXP/**/decode.json                 written by decode, beside or above the score
    EXP/DECODE/paired/*.json           written by score --against

Nothing is made up for what is missing: an experiment without a score says so.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechllm.report import checked

PAIRED = "*/paired/paired_*.json"


@dataclass(frozen=True)
class Score:
    """One scored decode: score.json, what decode wrote about it, and where it is."""

    name: str
    values: dict
    decode: dict
    folder: Path

    @property
    def label(self) -> str:
        """Name of the metric as its line has it, "WER" or "chrF2++"."""
        first = str(self.values["line"]).split(" ", 1)[0]
        return first.removeprefix("%") if first.startswith("%") else metric_name(self.values)

    @property
    def rows(self) -> str:
        """How many rows of the manifest are there: "5 of 7 rows"; "" where nobody knows."""
        counts = self.values.get("counts") or {}
        if "rows" not in counts:
            return ""
        return f"{counts.get('decoded', '?')} of {counts['rows']} rows of the manifest"

    @property
    def incomplete(self) -> bool:
        """Whether rows are left out of the score."""
        counts = self.values.get("counts") or {}
        missing = counts.get("missing", 0)  # those are counted, as deletions
        return "rows" in counts and counts["decoded"] + missing < counts["rows"]

    @property
    def heard(self) -> str:
        """What was heard when it was decoded: "real", "shuffled" or "silent" audio."""
        options = self.decode.get("options")
        return str(options.get("audio", "real")) if isinstance(options, dict) else "real"


@dataclass(frozen=True)
class Experiment:
    """One folder; `state` is "scored", "not scored" or "not run"."""

    name: str
    folder: Path | None
    run: dict = field(default_factory=dict)
    scores: tuple[Score, ...] = ()
    log: tuple[dict, ...] = ()
    command: str = ""
    paired: tuple[dict, ...] = ()

    @property
    def state(self) -> str:
        if self.scores:
            return "scored"
        return "not scored" if self.run or self.log else "not run"

    def phases(self) -> dict[str, list[dict]]:
        """Group the log's lines by phase, in the order in which the phases were trained."""
        by_phase: dict[str, list[dict]] = {}
        for line in self.log:
            name = line.get("phase", line.get("stage", ""))  # "stage" in logs of before
            by_phase.setdefault(str(name), []).append(line)
        return by_phase


def read_all(folders: Sequence[str | Path]) -> list[Experiment]:
    """Read experiments; folders of one name have as many parents as it takes to tell them apart.

    Raises:
        ValueError: as of `read`.
    """
    named = {Path(folder).resolve(): Path(folder).name for folder in folders}
    parents = 1
    while len(set(named.values())) < len(named):
        parents += 1
        names = Counter(named.values())
        for path, name in named.items():
            if names[name] > 1:
                named[path] = "/".join(path.parts[-parents:])
    return [replace(read(one), name=named[Path(one).resolve()]) for one in folders]


def read(folder: str | Path) -> Experiment:
    """Read one experiment's folder, which need not exist yet.

    Raises:
        ValueError: a file there is not what it should be, named with its line.
    """
    folder = Path(folder)
    paths = sorted(
        path
        for pattern in ("score*/score.json", "*/score.json", "*/score*/score.json")
        for path in folder.glob(pattern)
    )
    scores = tuple(_score(folder, path) for path in dict.fromkeys(paths))
    run = checked.run(folder / "run.json")
    log = checked.log(folder / "log.jsonl")
    tests = [checked.paired(path) | {"of": path.parent.parent.name} for path in folder.glob(PAIRED)]
    tests.sort(key=lambda test: (test["metric"], test["of"], test["against"]))
    return Experiment(folder.name, folder, run, scores, log, run.get("command", ""), tuple(tests))


def _score(root: Path, path: Path) -> Score:
    values = checked.score(path)
    decode: dict = {}
    for folder in (path.parent, path.parent.parent):
        if not decode and folder != root.parent:
            decode = checked.run(folder / "decode.json")
    name = "/".join(path.parent.relative_to(root).parts) or path.parent.name
    return Score(name, values, decode, path.parent)


def set_name(score: Score) -> str:
    """Name what was decoded: "test" for EXP/decode_test/score."""
    parts = [p for p in score.name.split("/") if not p.startswith("score")] or [score.name]
    return "/".join(parts).removeprefix("decode_") or score.name


def metric_name(values: dict) -> str:
    """Name what was scored: "WER", or "WER of transcript" where it was not the whole answer."""
    name, at, fields = str(values.get("metric", "")).partition("@")
    return name.upper() + (f" of {fields.split(':')[0]}" if at else "")


def facts(experiment: Experiment) -> dict[str, str]:
    """Write what is known about how an experiment was run, for a table; nothing is guessed."""
    run = experiment.run
    texts = {"command": portable(run.get("command", ""))}
    for key in ("preset", "commit", "seed", "hardware", "precision", "date"):
        texts[key] = str(run.get(key, ""))
    versions = run.get("versions") or {"torch": run.get("torch", "")}
    texts["versions"] = ", ".join(f"{k} {v}" for k, v in versions.items() if v)
    texts["training time"] = duration(run["seconds"]) if "seconds" in run else ""
    texts["peak memory"] = f"{run['peak_memory_mb']:,} MB" if "peak_memory_mb" in run else ""
    texts |= {f"validation of {name}": text for name, text in validated(experiment).items()}
    notices = [portable(str(line)) for line in run.get("notices", [])]
    texts |= {f"noted{f' ({i})' if i else ''}": line for i, line in enumerate(notices)}
    return {key: text for key, text in texts.items() if text}


def validated(experiment: Experiment) -> dict[str, str]:
    """Write what the last validation of each phase measured, its loss first."""
    found = {}
    for name, lines in experiment.phases().items():
        last = [line["valid"] for line in lines if isinstance(line.get("valid"), dict)][-1:]
        numbers = sorted(_numbers(last[0]), key=lambda pair: pair[0] != "loss") if last else ()
        if text := ", ".join(f"{key} {value:.4g}" for key, value in numbers):
            found[name] = text
    return found


def _numbers(values: dict, before: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a validation, those of one manifest under its name."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{before}{key}/")
        elif isinstance(value, int | float):
            yield before + key, value


def decode_facts(score: Score) -> dict[str, str]:
    """Write what is known about a decode."""
    values = score.decode
    texts = {"decoded": score.rows, "decoded by": portable(values.get("command", ""))}
    if values.get("rtfx"):  # of text alone there is none
        texts["RTFx"] = f"{values['rtfx']:g} audio seconds a second"
    if "peak_memory_mb" in values:
        texts["peak memory, decoding"] = f"{values['peak_memory_mb']:,} MB"
    return {key: text for key, text in texts.items() if text}


def portable(command: str) -> str:
    """Shorten absolute paths, which mean nothing on another machine, to their last part."""
    return re.sub(r"(?<![\w./…-])/(?:[^\s/'\"=]+/)+(?=[^\s/'\"=])", "…/", command)


def duration(seconds: float) -> str:
    """Write a duration: "52 s", "7 min 12 s", "3 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def curve(log: list[dict], *keys: str) -> tuple[list[float], list[float]]:
    """Collect (steps, values) of a number in the log; what is absent or no measure is left out."""
    x, y = [], []
    for row in log:
        value = row
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and abs(value) < checked.MOST:
            x.append(row.get("step", 0))
            y.append(value)
    return x, y
