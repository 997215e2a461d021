"""Decode a manifest: batches by seconds, results one line at a time, an interrupted run goes on."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from speechllm.data import check, heard, loader
from speechllm.data.chat import Builder
from speechllm.data.examples import Examples
from speechllm.data.index import CHARS_PER_S
from speechllm.data.manifest import Manifest
from speechllm.decode import search
from speechllm.decode.answer import Answer
from speechllm.models.llm import ends
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System

TOKENS_PER_S = 25.0  # no language is spoken faster, even spelled letter by letter
TOKENS_SPARE = 16  # and short utterances get this many more
KEPT = ("speaker", "lang", "task", "duration", "kind", "choices")  # of a row, for the scores


@dataclass(frozen=True)
class Options:
    """Settings of a decode.

    Attributes:
        num_beams: 1 is greedy.
        max_batch_s: rows x longest utterance, in seconds.
        max_tokens_per_s: bounds the length of an answer by the audio's duration.
        max_repeats: repetitions of one n-gram that end an answer as a loop, 0: no guard.
        task: table of a task that all rows are asked under; None: their own, or the preset's.
        audio: "real"; or "shuffled" (each sound is another's of the manifest, drawn by the
            preset's seed) or "silent", to see how much the model listens.
        workers, on_error: as in training.
        precision: "fp32" or "bf16".
    """

    num_beams: int = 1
    max_batch_s: float = 200.0
    max_tokens_per_s: float = TOKENS_PER_S
    max_repeats: int = 10
    task: dict | None = None
    audio: str = "real"
    workers: int = 1
    on_error: str = "stop"
    precision: str = "fp32"


@dataclass
class Tally:
    """What a decode did. `rtfx` is audio seconds over wall seconds, after the first batch."""

    n_utterances: int = 0
    n_done_before: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    timed_audio_s: float = 0.0
    timed_wall_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def rtfx(self) -> float:
        """Audio seconds decoded in a wall second."""
        audio, wall = self.timed_audio_s, self.timed_wall_s
        if not wall:  # one batch only: there is nothing but the warm-up
            audio, wall = self.audio_s, self.wall_s
        return audio / wall if wall else 0.0

    def add(self, audio_s: float, wall_s: float, rows: int) -> None:
        """Count one batch; the first is warm-up."""
        if self.wall_s:
            self.timed_audio_s += audio_s
            self.timed_wall_s += wall_s
        self.audio_s += audio_s
        self.wall_s += wall_s
        self.n_utterances += rows


def decode(
    system: System, model: SpeechLLM, manifest: Manifest, out: Path, options: Options, progress=None
) -> Tally:
    """Decode `manifest` into `out` (hyp.jsonl), leaving out what stands there already.

    Args:
        system, model: from `store.load`.
        manifest: what to decode.
        out: file of JSON lines: id, hyp, ref, speaker, duration, n_tokens, stop, seconds.
        options: see `Options`.
        progress: called with the utterances done after each batch.

    Raises:
        ValueError: an utterance cannot be asked or read (`on_error="stop"`); references of
            unequal number; a line of `out` is not ours.
    """
    done = finished(out)
    left = [i for i, row in enumerate(manifest) if row["id"] not in done]
    tally = Tally(n_done_before=len(manifest) - len(left))
    if not left:
        return tally
    other = heard.make(options.audio, manifest, system.extractor, system.preset.seed)
    kept = system.preset.section("data", loader.Config).cache_mb  # sounds are asked about again
    parts = system, manifest.subset(left)
    examples = Examples.of(*parts, options.task, answer=False, heard=other, cache_mb=kept)
    check.rows(examples)
    check.references(examples)
    began = time.perf_counter()
    with open(out, "a", encoding="utf-8") as file:
        for batch, chosen in _batches(examples, options, tally):
            batch = batch.to(next(model.parameters()).device)
            bounds = [_bound(row, options) for row in chosen]
            answers = _generate(model, batch, bounds, examples.builder, options)
            now = time.perf_counter()
            tally.add(batch.seconds, now - began, len(chosen))
            for row, answer in zip(chosen, answers, strict=True):
                entry = _entry(examples, row, answer, (now - began) / len(chosen))
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            began = now
            if progress:
                progress(len(chosen))
    return tally


def _batches(examples: Examples, options: Options, tally: Tally) -> Iterator:
    """Yield (batch, its rows); what cannot be read is noted in the tally."""
    manifest = examples.manifest
    data = loader.Config(
        max_batch_s=options.max_batch_s, workers=options.workers, on_error=options.on_error
    )
    plan = data.sampler(manifest, seed=0, shuffle=False).epoch(0)
    keys = [(number, 0, indices) for number, indices in enumerate(plan)]
    for number, batch, errors in loader.batches(examples, data, keys):
        tally.errors += errors
        if batch is not None:
            read, rows = set(batch.names), [manifest[int(i)] for i in plan[number]]
            yield batch, [row for row in rows if row["id"] in read]


def _generate(model: SpeechLLM, batch, bounds: list[int], builder: Builder, options: Options):
    pad = builder.tokenizer.pad_token_id
    bf16 = options.precision == "bf16"
    with torch.no_grad(), torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=bf16):
        result = model(batch)
        stops = builder.stops | ends(model.llm)
        config = search.Config(options.num_beams, max_repeats=options.max_repeats)
        return search.answers(result, bounds, stops, pad, config)


def _bound(row: dict, options: Options) -> int:
    """Most tokens of a row's answer; a text without audio lasts as long as it would be spoken."""
    seconds = float(row.get("duration") or len(row.get("text", "")) / CHARS_PER_S)
    return int(seconds * options.max_tokens_per_s) + TOKENS_SPARE


def _entry(examples: Examples, row: dict, answer: Answer, seconds: float) -> dict:
    """Make a line of hyp.jsonl; what an answer says and is held against is the task's to know."""
    task, tokenizer = examples.task_of(row), examples.builder.tokenizer
    text = tokenizer.decode(answer.ids, skip_special_tokens=True).strip()
    kept = {key: row[key] for key in KEPT if key in row}
    return {
        "id": row["id"],
        **(task.read(text, row) if hasattr(task, "read") else {"hyp": text}),
        "ref": task.reference(row) if hasattr(task, "reference") else row.get("text"),
        **kept,
        "n_tokens": len(answer.ids),
        "stop": answer.stop,
        "seconds": round(seconds, 4),
    }


def finished(out: Path) -> set[str]:
    """Return the ids that stand in `out`; a last line cut short is removed.

    Raises:
        ValueError: a line that is not a result.
    """
    if not Path(out).exists():
        return set()
    data = Path(out).read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        Path(out).write_bytes(whole)
    ids = set()
    for number, line in enumerate(whole.decode("utf-8").splitlines(), 1):
        try:
            ids.add(json.loads(line)["id"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{out}, line {number}: not a decoding result: {line[:80]}") from None
    return ids
