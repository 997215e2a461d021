"""The tables of a benchmark: who recognises what how well, how fast, in how much memory.

    entries = [scored(entry, ("whisper-en", "open-asr")) for entry in entries]
    tables = make(entries)                        # written by `benchmark_page.py`

An `Entry` is one recogniser on one set: its folder holds `hyp.jsonl`, and of what was measured
`decode.json` and `measured.json`. What has failed has its reason in place of numbers.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speechllm import files
from speechllm.report.collect import portable
from speechllm.report.layouts import Table
from speechllm.score import compare, run

LEADERBOARD = "open-asr"  # which counts words that are written together as right
KINDS = {"empty_hyp": "empty", "loop": "loops", "burst": "bursts", "fast": "too fast"}
NONE = "-"
NOTE = (
    "RTFx: seconds of audio in a second of computing, all of the set, its reading too, loading "
    "the model not. Latency: of {n} single files of all lengths, each alone, in the middle. "
    "Memory: the largest of the model's own process."
)


@dataclass(frozen=True)
class Entry:
    """One recogniser on one set; `failed` says why there are no numbers."""

    split: str
    manifest: Path
    name: str
    folder: Path
    failed: str = ""
    scores: Mapping = field(default_factory=dict)  # (metric, normaliser) -> score.run's Result

    @property
    def hyp(self) -> Path:
        """Its answers."""
        return self.folder / "hyp.jsonl"

    def facts(self, name: str) -> dict:
        """Read what it left besides; {} where nothing is."""
        path = self.folder / name
        return files.read_json(path) if path.is_file() else {}

    @property
    def main(self):
        """The score by which it is compared."""
        return next(iter(self.scores.values()))


def metrics(normalisers: Sequence[str]) -> list[tuple[str, str]]:
    """List what is scored: (metric, normaliser), the one that is compared first."""
    words = [("wer:merged" if one == LEADERBOARD else "wer", one) for one in normalisers]
    return [*words, ("cer", normalisers[0])]


def scored(entry: Entry, normalisers: Sequence[str], missing: str = "error") -> Entry:
    """Score an entry, its files beside its answers; one that cannot be is a failed one."""
    if entry.failed:
        return entry
    found = {}
    try:
        for metric, normaliser in metrics(normalisers):
            out = entry.folder / f"score_{metric.replace(':', '_')}_{normaliser}"
            how = {"manifest": entry.manifest, "missing": missing}
            found[metric, normaliser] = run.score_file(entry.hyp, metric, normaliser, out, **how)
    except ValueError as error:
        return Entry(**{**vars(entry), "failed": str(error)})
    if not any(one.utterance.hyp.strip() for one in found["cer", normalisers[0]].utterances):
        reason = f"answered nothing to all utterances of {entry.split}"
        return Entry(**{**vars(entry), "failed": reason})
    return Entry(**{**vars(entry), "scores": found})


def make(entries: Sequence[Entry], missing: str = "error") -> list[Table]:
    """Make all tables of entries that were scored."""
    good = [entry for entry in entries if not entry.failed]
    tables = [_results(entries)]
    if tested := _paired(good, missing):
        tables.append(tested)
    if good:
        tables.append(_errors(good))
        named = {"duration_s": "By length in seconds", "speaker": "By speaker"}
        tables += filter(None, (_parts(good, key, title) for key, title in named.items()))
        tables.append(_systems(good))
    return tables


def _results(entries: Sequence[Entry]) -> Table:
    keys = next((entry.scores for entry in entries if entry.scores), {})
    heads = ["set", "model", "utterances"]
    for metric, _ in keys:
        first = next(entry.scores[metric, _] for entry in entries if entry.scores)
        heads += [f"{first.label} % {_normaliser(first)}", "95 %"]
    heads += ["RTFx", "latency s", "memory MB"]
    failing = any(entry.failed for entry in entries)
    rows = [_result(entry, len(keys), failing) for entry in entries]
    times = [len(e.facts("measured.json").get("latency_s", ())) for e in entries]
    note = NOTE.format(n=max(times, default=0)) if any(times) else ""
    return Table("Results", (*heads, *(["failed"] if failing else [])), rows, 2, note)


def _normaliser(score) -> str:
    """What a score's signature says up to its normaliser."""
    parts = score.signature.split("|")
    last = next(i for i, part in enumerate(parts) if part.startswith("norm="))
    return " ".join(part.removeprefix("norm=") for part in parts[: last + 1])


def _result(entry: Entry, n_scores: int, failing: bool) -> tuple[str, ...]:
    cells = [entry.split, entry.name]
    if entry.failed:
        return (*cells, *[NONE] * (1 + 2 * n_scores + 3), _shortened(portable(entry.failed)))
    cells.append(str(len(entry.main.utterances)))
    for score in entry.scores.values():
        low, high = score.interval
        cells += [_number(score.value), f"{_number(low)} to {_number(high)}"]
    measured = entry.facts("measured.json")
    latency = measured.get("latency_s")
    cells += [_number(_rtfx(entry), ".1f"), _number(_middle(latency)), NONE]
    if "peak_memory_mb" in measured:
        cells[-1] = str(measured["peak_memory_mb"])
    return (*cells, *([""] if failing else []))


def _shortened(reason: str, most: int = 80) -> str:
    """Keep a cell a cell; the whole reason is said where it failed."""
    return reason if len(reason) <= most else reason[: most - 3] + "..."


def _rtfx(entry: Entry) -> float | None:
    rows = [row for _, row in files.json_lines(entry.hyp)]
    if not all("seconds" in row and "duration" in row for row in rows):
        return None
    spent = sum(row["seconds"] for row in rows)
    return sum(row["duration"] for row in rows) / spent if spent else None


def _middle(values: list[float] | None) -> float | None:
    return statistics.median(values) if values else None


def _number(value: float | None, how: str = ".2f") -> str:
    if value is None:
        return NONE
    return format(value, how) if np.isfinite(value) else "undefined"


def _paired(entries: Sequence[Entry], missing: str) -> Table | None:
    """Test each two recognisers of a set by their words, as each normaliser counts."""
    rows = []
    for a, b in itertools.combinations(entries, 2):
        if a.split != b.split:
            continue
        for (metric, normaliser), score in a.scores.items():
            if metric == "cer":
                continue
            how = {"manifest": a.manifest, "missing": missing}
            found = compare.compare_files(a.hyp, b.hyp, metric, normaliser, **how).paired
            span = f"{_number(found.low, '+.2f')} to {_number(found.high, '+.2f')}"
            numbers = [_number(found.difference, "+.2f"), span]
            numbers += [_number(p, ".4f") for p in (found.p, found.p_ar)]
            rows.append((a.split, f"{score.label} {_normaliser(score)}", a.name, b.name, *numbers))
    heads = ("set", "metric", "a", "b", "a - b", "95 %", "p, bootstrap", "p, randomised")
    return Table("Paired tests", heads, rows, 4) if rows else None


def _errors(entries: Sequence[Entry]) -> Table:
    """Break errors down by kind; count utterances with faults."""
    rows = []
    for entry in entries:
        total, counts = entry.main.total, entry.main.counts
        shares = [
            _number(100 * total[key] / total["size"] if total["size"] else float("nan"))
            for key in ("sub", "del", "ins")
        ]
        rows.append((entry.split, entry.name, *shares, *(str(counts[key]) for key in KINDS)))
    heads = ("set", "model", "substituted %", "deleted %", "inserted %", *KINDS.values())
    note = "Percent of the words of the reference; then utterances: empty answers, loops, bursts "
    note += "of insertions, more words than can be said in their time."
    return Table("By kind of error", heads, rows, 2, note)


def _parts(entries: Sequence[Entry], key: str, title: str) -> Table | None:
    """Set recognisers side by side for parts of the sets."""
    names = list(dict.fromkeys(entry.name for entry in entries))
    found: dict[tuple[str, str], dict] = {}
    for entry in entries:
        for row in entry.main.tables.get(key, ()):
            place = found.setdefault((entry.split, row["name"]), {"size": row["size"]})
            place[entry.name] = row["value"]
    rows = [
        (*place, str(cells["size"]), *(_number(cells.get(name)) for name in names))
        for place, cells in found.items()
    ]
    heads = ("set", "part", "words", *(f"{name} %" for name in names))
    return Table(title, heads, rows, 2) if rows else None


def _systems(entries: Sequence[Entry]) -> Table:
    """Say what each recogniser is, and how it was run."""
    rows = {}
    for entry in entries:
        decoded, measured = entry.facts("decode.json"), entry.facts("measured.json")
        weights = decoded.get("weights", NONE)
        digest = weights if isinstance(weights, str) else "+".join(weights)
        how = [f"{measured['threads']} threads"] if measured else []
        how += [str(facts[key]) for facts, key in ((measured, "precision"), (decoded, "device"))
                if key in facts]  # fmt: skip
        source = portable(str(decoded.get("source", NONE)))
        rows.setdefault(entry.name, (entry.name, str(decoded.get("kind", NONE)), source, digest,
                                     ", ".join(how)))  # fmt: skip
    heads = ("model", "kind", "from", "weights", "run with")
    return Table("Models", heads, list(rows.values()), len(heads))
