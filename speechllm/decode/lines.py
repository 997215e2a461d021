"""`hyp.jsonl`: one answer a line, written as it comes, read when a decode goes on."""

import os
from pathlib import Path

from speechllm import files
from speechllm.data.examples import Examples
from speechllm.decode.answer import Answer
from speechllm.decode.written import word

KEPT = (
    "speaker",
    "lang",
    "task",
    "duration",
    "kind",
    "choices",
    "hotwords",
)  # of a row, for the scores


def line(examples: Examples, row: dict, answer: Answer, seconds: float) -> dict:
    """Make the values of a line; what an answer says and is held against is the task's to know."""
    task = examples.task_of(row)
    others = [{"text": o.text, "score": round(o.score, 4)} for o in answer.alternatives]
    return {
        "id": row["id"],
        **(task.read(answer.text, row) if hasattr(task, "read") else {"hyp": answer.text}),
        "ref": task.reference(row) if hasattr(task, "reference") else row.get("text"),
        **{key: row[key] for key in KEPT if key in row},
        "n_tokens": len(answer.ids),
        "stop": answer.stop,
        "score": round(answer.score, 4),
        **({"alternatives": others} if others else {}),
        **({"words": [word(one) for one in answer.words]} if answer.words else {}),
        "seconds": round(seconds, 4),
    }


def finished(out: Path) -> set[str]:
    """Return the ids that stand in `out`; a last line cut short is removed.

    Raises:
        ValueError: a line that is not a result.
    """
    if not Path(out).exists():
        return set()
    _cut_half_line(out)
    return {
        files.entry(row, "id", str, f"{out}:{number}: not a decoding result")
        for number, row in files.json_lines(out)
    }


def _cut_half_line(out: Path, piece: int = 1 << 16) -> None:
    """Remove what follows the last end of a line, which a killed process was writing."""
    with open(out, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        kept = end
        while kept:
            start = max(kept - piece, 0)
            file.seek(start)
            newline = file.read(kept - start).rfind(b"\n")
            kept = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if kept < end:
            file.truncate(kept)
