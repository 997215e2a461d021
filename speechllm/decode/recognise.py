"""Recognisers of others over a manifest: batches by length, a line an utterance, gone on with.

What `decode/run.py` is for models of ours this is for whatever hears rows of a manifest and says
texts (`Hearer`): recognisers of transformers here, programs in `decode/program.py`.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np

from speechllm import files, lock
from speechllm.data.manifest import Manifest
from speechllm.data.rows import seconds
from speechllm.decode import record
from speechllm.decode.grouping import filled
from speechllm.decode.lines import KEPT, finished
from speechllm.decode.tally import Tally
from speechllm.media import audio
from speechllm.models.recognisers import Recogniser


class Hearer(Protocol):
    """What hears rows and says texts; `cost_s` is what a row of so many seconds costs a batch."""

    identity: dict

    def hear(self, rows: Sequence[dict]) -> list[str]:
        """Say what is said in each row."""

    def cost_s(self, duration_s: float) -> float:
        """Seconds that a row of this length counts; math.inf: it is heard by itself."""


class Transformer:
    """A recogniser of transformers, from `recognisers.load`, as a hearer."""

    def __init__(self, recogniser: Recogniser):
        self.recogniser, self.identity = recogniser, recogniser.identity

    def hear(self, rows: Sequence[dict]) -> list[str]:
        """Read the sounds and write what is said in them."""
        waves = [audio.open(row, self.recogniser.sampling_rate) for row in rows]
        return self.recogniser(waves, [row.get("lang") or "" for row in rows])

    def cost_s(self, duration_s: float) -> float:
        """Count the window where there is one."""
        return math.inf if self.recogniser.alone else max(duration_s, self.recogniser.window_s)


def recognise(
    hearer: Hearer,
    manifest: Manifest,
    folder: Path,
    max_batch_s: float,
    progress=None,
    again: bool = False,
    facts: dict | None = None,
) -> Tally:
    """Write `folder/hyp.jsonl`, leaving out what stands there already, and `decode.json`.

    Args:
        hearer: who hears.
        manifest: what to hear; each row has audio and text.
        folder: made if absent.
        max_batch_s: rows times what the longest of them costs, in seconds.
        progress: called with the utterances done after each batch.
        again: begin anew.
        facts: what decode.json shall say besides.

    Raises:
        ValueError: answers of something else stand there; a sound cannot be read or recognised.
    """
    folder = Path(folder)
    with lock.hold(folder):
        files.sweep(folder)
        now = {**hearer.identity, "manifest_digest": manifest.digest()}
        more = {"manifest": str(manifest.path), "n_rows": len(manifest), **(facts or {})}
        record.begin(folder, json.loads(json.dumps(now)), more, again)
        out = folder / record.ANSWERS
        done = finished(out)
        left = [i for i, row in enumerate(manifest) if row["id"] not in done]
        tally = Tally(n_done_before=len(manifest) - len(left))
        if left:
            with files.naming(out), open(out, "a", encoding="utf-8") as file:
                _all(hearer, manifest.subset(left), max_batch_s, file, tally, progress)
            record.end(folder, more | {"rtfx": round(tally.rtfx, 2)} | asdict(tally))
    return tally


def _all(hearer: Hearer, manifest: Manifest, max_batch_s: float, file, tally: Tally, progress):
    lengths = manifest.lengths_s
    costs = [hearer.cost_s(float(length)) for length in lengths]
    order = np.argsort(-lengths, kind="stable")  # rows of one window too: like answers end together
    for indices in filled(order.tolist(), costs, max_batch_s):
        rows = [manifest[i] for i in indices]
        began = time.perf_counter()
        texts = hearer.hear(rows)
        spent = time.perf_counter() - began
        tally.add(sum(map(seconds, rows)), spent, len(rows))
        for row, text in zip(rows, texts, strict=True):
            file.write(json.dumps(_line(row, text, spent / len(rows)), ensure_ascii=False) + "\n")
        file.flush()
        if progress:
            progress(len(rows))


def _line(row: dict, text: str, spent_s: float) -> dict:
    kept = {key: row[key] for key in KEPT if key in row}
    return {"id": row["id"], "hyp": text, "ref": row["text"], **kept, "seconds": round(spent_s, 4)}
