"""What a manifest holds: hours, speakers, words, characters, lengths.

print(summary("train.jsonl"))
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechllm import files
from speechllm.data.faults import faults
from speechllm.data.rows import seconds


@dataclass
class Summary:
    """What a manifest holds; `quantiles_s` are those of 0, 5, 50, 95, 100 %."""

    n_rows: int = 0
    hours: float = 0.0
    speakers: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    quantiles_s: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Six lines for a terminal."""
        alphabet = "".join(sorted(self.characters))
        shown = alphabet if len(alphabet) <= 120 else alphabet[:120] + " ..."
        seconds = " ".join(f"{value:.2f}" for value in self.quantiles_s) or "none"
        return (
            f"examples    {self.n_rows}\nhours       {self.hours:.2f}\n"
            f"speakers    {len(self.speakers)}\n"
            f"words       {self.words.total()}, {len(self.words)} different\n"
            f"characters  {len(self.characters)} different: {shown}\n"
            f"seconds     {seconds} (0, 5, 50, 95, 100 %)"
        )


def summary(path: str | Path) -> Summary:
    """Count the rows of a manifest that can be read; problems are passed over."""
    total, durations = Summary(), array("f")
    with open(path, "rb") as file:
        for row in _usable(file):
            total.n_rows += 1
            durations.append(seconds(row))
            text = row.get("text") or ""
            total.words.update(text.split())
            total.characters.update(text)
            if row.get("speaker") is not None:
                total.speakers[row["speaker"]] += 1
    heard = np.frombuffer(durations, np.float32)
    heard = heard[heard > 0]
    if len(heard):
        total.hours = heard.sum(dtype=np.float64) / 3600
        total.quantiles_s = tuple(np.quantile(heard, [0, 0.05, 0.5, 0.95, 1]).tolist())
    return total


def _usable(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = files.parse(line)
        except ValueError:
            continue
        if next(faults(row), None) is None:
            yield row
