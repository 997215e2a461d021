"""`decode.json`: which model answered what, how; a decode goes on only where all of it is the same.

    {"weights": ..., "system": {...}, "task": {...}, "manifest_digest": ..., "options": {...}, ...}

Written before the first answer, so that whatever stops a decode, its answers are never taken for
those of another model, manifest or search.
"""

import dataclasses
import json
import shutil
from pathlib import Path

from speechllm import config, files, nested, provenance
from speechllm.data.asked import asked
from speechllm.data.manifest import Manifest
from speechllm.models.fingerprint import fingerprint
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System

NAME = "decode.json"
ANSWERS = "hyp.jsonl"
NOUNS = ("frontend", "encoder", "adapter", "fusion", "llm", "chat", "branch")
SPEED = ("max_batch_s", "workers", "on_error", "words")  # options that change no answer
SHOWN = 5  # so many differences are named


def identity(system: System, model: SpeechLLM, manifest: Manifest, options) -> dict:
    """Collect all that an answer depends on."""
    preset = system.preset
    chosen = dataclasses.asdict(options)
    table = chosen.pop("task") or preset.table("task")
    chosen["search"] = options.search.facts()
    values = {
        "weights": fingerprint(model),
        "system": {name: preset.tables[name] for name in NOUNS if name in preset.tables},
        "task": table,
        "seed": preset.seed,
        "manifest_digest": manifest.digest(),
        "options": {key: value for key, value in chosen.items() if key not in SPEED},
    }
    return json.loads(json.dumps(values))


def begin(folder: Path, now: dict, more: dict, again: bool) -> None:
    """Write the record of a decode that begins, or see that one goes on as it began.

    Args:
        folder: of the answers; the caller holds its lock.
        now: from `identity`.
        more: facts that may differ, such as paths.
        again: remove the answers that are there, whatever made them, and their scores.

    Raises:
        ValueError: answers are there that something else made; names what differs.
    """
    answers, path = folder / ANSWERS, folder / NAME
    if again:
        answers.unlink(missing_ok=True)
        for scored in folder.glob("score_*/score.json"):  # of the answers that were there
            shutil.rmtree(scored.parent)
    if answers.exists() and answers.stat().st_size:
        _compare(folder, files.read_json(path) if path.exists() else {}, now, more)
    else:
        files.write_json(path, provenance.facts(**more, **now))


def end(folder: Path, more: dict) -> None:
    """Add what a decode that has run to its end knows of itself."""
    path = folder / NAME
    files.write_json(path, files.read_json(path) | provenance.facts(**more))


def _compare(folder: Path, before: dict, now: dict, more: dict) -> None:
    advice = "choose another --out, or decode anew with --again"
    if "weights" not in before:
        raise ValueError(
            f"{folder}: holds answers, but no {NAME} that says which model gave them and how; "
            f"{advice}"
        )
    old, new = (nested.flat({key: values.get(key) for key in now}) for values in (before, now))
    differing = [
        f"{key}: {_shown(old, key)} -> {_shown(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    places = [str(values.get("checkpoint", "")) for values in (before, more)]
    if differing and places[0] != places[1]:  # what a reader knows the weights by
        differing.append(f"checkpoint: {places[0]} -> {places[1]}")
    if differing:
        rest = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ValueError(
            f"{folder}: its answers were given by another model or in another way "
            f"({'; '.join(differing[:SHOWN])}{rest}); {advice}"
        )


def _shown(values: dict, key: str) -> str:
    text = json.dumps(values.get(key), ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def task_metric(system: System, task: dict | None) -> str:
    """The metric of the task that is asked."""
    table = task or asked(system.preset)
    return config.part("tasks", table, f"{system.preset.source} [task]").metric
