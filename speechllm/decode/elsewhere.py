"""Answers of other processes, on this machine or others: what one of them does with its part.

A part is some whole batches, those that one process alone would make, so that an answer does not
depend on who gave it. The lines come back as text, for the one process that writes `hyp.jsonl`.
"""

import dataclasses
import functools
import io
from dataclasses import dataclass

from speechllm import config
from speechllm.data.manifest import Manifest
from speechllm.decode import run
from speechllm.decode.tally import Tally
from speechllm.models import store


@dataclass(frozen=True)
class Place:
    """Where the model and the rows are, and how they are asked: all a process must know.

    Attributes:
        checkpoint: folder of the model.
        changes: to its preset, "task.KEY=VALUE".
        device: "cpu" or "cuda".
        manifest: whole path.
        options: of the decode.
    """

    checkpoint: str
    changes: tuple[str, ...]
    device: str
    manifest: str
    options: "run.Options"


def answered(place: Place, part: list[list[int]]) -> tuple[str, Tally]:
    """Answer batches of row numbers: lines of `hyp.jsonl`, and what was done.

    Raises:
        ValueError: as `run.decode`.
    """
    system, model = _loaded(place.checkpoint, place.changes, place.device)
    rows, text, tally = Manifest(place.manifest), io.StringIO(), Tally()
    answerer = run.answerer(system, model, place.options)
    for batch in part:
        examples = run.examples(system, model, rows, batch, place.options)
        run.answer(answerer, examples, text, place.options, tally, None)
    return text.getvalue(), tally


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: str, changes: tuple[str, ...], device: str):
    """Load once what a process is asked of again and again."""
    system, model = store.load(checkpoint)
    preset = config.changed(system.preset, list(changes))
    return dataclasses.replace(system, preset=preset), model.to(device).eval()
