"""What a score is: utterances with their statistics, and the result over all of them."""

import json
from dataclasses import dataclass, field

import numpy as np

from speechllm.score import tables
from speechllm.score.formats.lines import Utterance


@dataclass(frozen=True, slots=True)
class Scored:
    """One utterance with its normalised texts, statistics and faults."""

    utterance: Utterance
    ref: str
    hyp: str
    stats: tuple[int, ...]
    n_ref: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A scored file: the line to quote, and what is behind it."""

    metric: str
    label: str
    described: str  # the total in words: errors and words, right answers, ...
    value: float
    interval: tuple[float, float]
    total: dict[str, int]
    counts: dict[str, int]
    tables: dict[str, list[dict]]
    signature: str
    context: dict
    sources: dict
    sclite: dict[str, int] | None  # what sclite counts, where it counts otherwise
    check: str  # the command of others that gives the same number
    rows: str  # how many rows of which manifest are there
    warnings: tuple[str, ...]  # why the number may not mean what it seems to
    utterances: list[Scored] = field(repr=False)

    @property
    def line(self) -> str:
        """The line to quote."""
        low, high = self.interval
        numbers = f"[ {self.described} ] ci95=[{low:.2f}, {high:.2f}]"
        return f"%{self.label} {self.value:.2f} {numbers} {self.signature}"

    def to_json(self) -> str:
        """Write all but the utterances as JSON; an undefined number is null."""
        low, high = self.interval
        return json.dumps(
            {
                "schema": 1,
                "line": self.line,
                "metric": self.metric,
                "value": _number(self.value),
                "ci95": [_number(low), _number(high)],
                "total": self.total,
                "counts": self.counts,
                "signature": self.signature,
                "context": self.context,
                "warnings": self.warnings,
                **self.sources,
                **({"sclite": self.sclite} if self.sclite else {}),
                "tables": self.tables,
            },
            ensure_ascii=False,
            indent=1,
        )

    def to_text(self) -> str:
        """Write the line, the counts and the tables for a person."""
        shown = [f"{self.counts[k]:>8} {_COUNTS[k]}" for k in _COUNTS if k in self.counts]
        warned = "\n".join(f"WARNING: {text}" for text in self.warnings)
        parts = [self.line, *([warned] if warned else []), self.rows, "\n".join(shown)]
        parts += [tables.text(name, rows) for name, rows in self.tables.items()]
        if not self.check:
            return "\n\n".join(parts) + "\n"
        check = f"Check with: {self.check}"
        if self.sclite:
            numbers = ", ".join(f"{number} {name}" for name, number in self.sclite.items())
            check += f"\nwhich will count {numbers}; see the note on sclite in score/edit.py."
        return "\n\n".join([*parts, check]) + "\n"


_COUNTS = {
    "utterances": "utterances",
    "empty_ref": "with an empty reference",
    "empty_ref_tokens": "tokens inserted there, counted as errors",
    "empty_hyp": "with an empty hypothesis, the reference not being empty",
    "loop": "with a loop (an n-gram four times in a row)",
    "burst": "with a burst of insertions",
    "fast": "with more words than can be said in their time",
    "cut": "cut by the length bound",
    "outside": "with an answer that is none of the choices",
    "missing": "missing, counted as deletions",
}


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
