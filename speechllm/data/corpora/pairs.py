"""Pairs of a right and a wrong answer to the same audio, from decodes: what DPO learns from.

    speechllm data prepare pairs --decodes exp/decode_asr exp/decode_de --out data/pairs

Each decode is of a manifest under one instruction, which its decode.json says and which a pair's
`task` keeps where it was `speechllm decode --task`. A row gets up to
two pairs: `own`, its reference against what the model answered, where that is wrong; and `other`,
its reference against the right answer to another instruction on the same audio, which teaches to
do what is asked. Decode training data, never a test. Rows keep the manifest's fields and get
`chosen` and `rejected`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechllm import files
from speechllm.data import manifest
from speechllm.data.manifest import Manifest

KINDS = ("own", "other")


@dataclass(frozen=True)
class Config:
    """Options: folders of decodes; `kinds` of pairs to make; `limit` of all pairs, 0 none."""

    decodes: tuple[str, ...]
    out: str = "data/pairs"
    kinds: tuple[str, ...] = KINDS
    limit: int = 0
    seed: int = 0

    def prepare(self) -> dict[str, Path]:
        """Write `pairs.jsonl` in an order drawn by `seed`; its path. Raises ValueError."""
        if not self.decodes or (unknown := [kind for kind in self.kinds if kind not in KINDS]):
            wrong = f"no pairs called {', '.join(unknown)}" if self.decodes else "no --decodes"
            raise ValueError(f"{wrong}; wanted decodes' folders, and kinds among own, other")
        decodes = {Path(folder).name: _read(Path(folder)) for folder in self.decodes}
        if len(decodes) < len(self.decodes):
            raise ValueError("two decodes of one name; their ids would be the same")
        pairs = list(self._pairs(decodes))
        if not pairs:
            raise ValueError(
                f"{', '.join(self.decodes)}: no pair: every answer is right, and no audio stands "
                "in two of them"
            )
        order = np.random.default_rng(self.seed).permutation(len(pairs))
        path = Path(self.out).absolute() / "pairs.jsonl"
        manifest.write(path, (pairs[i] for i in order[: self.limit or None]))
        return {"pairs": path}

    def _pairs(self, decodes: dict[str, list[dict]]) -> Iterator[dict[str, Any]]:
        """Make the pairs of all decodes, in their order."""
        for name, rows in decodes.items():
            others = {k: {_audio(r): r for r in o} for k, o in decodes.items() if k != name}
            for row in rows:
                wrong = {"own": row["hyp"]}
                for there in others.values():
                    if _audio(row) and _audio(row) in there:
                        wrong["other"] = there[_audio(row)]["chosen"]
                for kind in self.kinds:
                    if wrong.get(kind, "").strip() and not _same(wrong[kind], row["chosen"]):
                        kept = {k: v for k, v in row.items() if k != "hyp"}
                        id = f"{name}-{row['id']}-{kind}"
                        yield {**kept, "id": id, "rejected": " ".join(wrong[kind].split())}


def _read(folder: Path) -> list[dict]:
    """The rows that a decode answered, with `chosen` (the reference) and `hyp`."""
    try:
        facts = files.read_json(folder / "decode.json")
        path = folder / "hyp.jsonl"
        answers = {}
        for number, entry in files.json_lines(path):
            files.entry(entry, "hyp", str, f"{path}:{number}")
            answers[files.entry(entry, "id", str, f"{path}:{number}")] = entry
        decoded = files.entry(facts, "manifest", str, str(folder / "decode.json"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: not a whole decode ({error}); decode again") from None
    task = facts.get("task") if facts.get("task_of_all") else None
    task_field = {"task": task["name"]} if isinstance(task, dict) and "name" in task else {}
    rows = []
    for row in Manifest(decoded):
        entry = answers.get(row["id"])
        if entry is None:
            continue
        ref = entry.get("ref")
        ref = ref[0] if isinstance(ref, list) and ref else ref
        if not isinstance(ref, str) or not ref.strip():
            raise ValueError(f"{folder}: {row['id']} has no reference, so no answer is right")
        rows.append({**row, **task_field, "chosen": ref, "hyp": entry["hyp"]})
    return rows


def _audio(row: dict) -> tuple | None:
    """What is heard: the file and where in it."""
    return (row["audio"], row.get("start", 0.0), row["duration"]) if row.get("audio") else None


def _same(a: str, b: str) -> bool:
    """Whether two answers differ in case and spaces alone."""
    return a.lower().split() == b.lower().split()
