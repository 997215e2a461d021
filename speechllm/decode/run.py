"""Decode a manifest: batches by seconds, results one line at a time, an interrupted run goes on."""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from speechllm import files, lock
from speechllm.data import check, control, loader
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.data.rows import seconds
from speechllm.decode import answering, many, record, room
from speechllm.decode.ask import Answerer
from speechllm.decode.lines import finished, line
from speechllm.decode.search import Config as Search
from speechllm.decode.tally import Tally
from speechllm.decode.timing import Timer
from speechllm.models import states
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System

PART = 8  # batches that another process answers at a time


@dataclass(frozen=True)
class Options:
    """Settings of a decode.

    Attributes:
        search: how to search.
        max_batch_s: rows x longest utterance, in seconds.
        max_tokens_per_s: bounds an answer by how long the media of its row are.
        max_tokens: bounds an answer to text alone, or to what has no length (a picture).
        task: table of a task that all rows are asked under; None: their own, or the preset's.
        audio: "real"; or "shuffled" (each sound, or other medium, is another's of the manifest,
            drawn by the preset's seed) or "silent" (or blank), to see how much the model listens;
            "shuffled:image" changes that medium alone.
        workers, on_error: as in training.
        precision: "fp32" or "bf16".
        words: with times and confidence of words, by the model's CTC head.
    """

    search: Search = Search()
    max_batch_s: float = 200.0
    max_tokens_per_s: float = 25.0  # no language is spoken faster, even spelled letter by letter
    max_tokens: int = 200
    task: dict | None = None
    audio: str = "real"
    workers: int = 1
    on_error: str = "stop"
    precision: str = "fp32"
    words: bool = False

    def __post_init__(self):
        """Refuse values that mean nothing."""
        for name in ("max_batch_s", "max_tokens_per_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name}: wanted a number above 0, got {value}")
        if self.max_tokens < 1 or self.workers < 0:
            name = "max_tokens" if self.max_tokens < 1 else "workers"
            least = 1 if name == "max_tokens" else 0
            raise ValueError(f"{name}: wanted {least} or more, got {getattr(self, name)}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision: wanted fp32 or bf16, got {self.precision!r}")


def decode(
    system: System,
    model: SpeechLLM,
    manifest: Manifest,
    folder: Path,
    options: Options,
    progress=None,
    again: bool = False,
    facts: dict | None = None,
    spread: Callable[[list], Iterable] | None = None,
) -> Tally:
    """Decode `manifest` into `folder`, leaving out what stands there already.

    `hyp.jsonl` gets a line an utterance: id, hyp, ref, speaker, duration, n_tokens, stop, score,
    seconds. `decode.json` says which model gave these answers, to what and how.

    Args:
        system, model: from `store.load`.
        manifest: what to decode.
        folder: made if absent; no other process may be writing there.
        options: see `Options`.
        progress: called with the utterances done after each batch.
        again: begin anew, whatever stands there.
        facts: what decode.json shall say besides.
        spread: lets other processes answer: from parts, lists of batches of row numbers, to what
            `elsewhere.answered` gives for each.

    Raises:
        ValueError: answers of another model, manifest or search stand there; an utterance cannot
            be asked, read or is too long (`on_error="stop"`); references of unequal number; a line
            of hyp.jsonl is not ours.
        FloatingPointError: the model computes no numbers.
    """
    folder = Path(folder)
    with lock.hold(folder):
        files.sweep(folder)
        more = _facts(system, manifest, options) | (facts or {})
        now = record.identity(system, model, manifest, options)
        record.begin(folder, now, more, again)
        out = folder / record.ANSWERS
        done = finished(out)
        left = [i for i, row in enumerate(manifest) if row["id"] not in done]
        tally = Tally(n_done_before=len(manifest) - len(left))
        if left:
            fitting = _fitting(room.Room(system, model), manifest, left, options, tally)
            found = examples(system, model, manifest, fitting, options)
            asked = answerer(system, model, options)
            with files.naming(out), open(out, "a", encoding="utf-8") as file:
                if spread:
                    parts = _parts(asked, found.manifest, fitting, options)
                    _gather(spread(parts), file, tally, progress)
                else:
                    answer(asked, found, file, options, tally, progress)
        if tally.n_utterances:
            speed = {"rtfx": round(tally.rtfx, 2)} if tally.audio_s else {}
            record.end(folder, more | speed | asdict(tally))
    return tally


def _facts(system: System, manifest: Manifest, options: Options) -> dict:
    """Say in decode.json what does not decide whose answers these are."""
    return {
        "preset": system.preset.name,
        "metric": record.task_metric(system, options.task),
        "task_of_all": options.task is not None,  # else each row was asked under its own
        "manifest": str(manifest.path),
        "n_rows": len(manifest),
    }


def answerer(system: System, model: SpeechLLM, options: Options) -> Answerer:
    """Make what answers.

    Raises:
        ValueError: words are wanted, and the model knows no times.
    """
    timer = Timer(system, model) if options.words else None
    if timer and timer.why:
        raise ValueError(f"--words: {timer.why}")
    return Answerer(system, model, options.search, (), options.precision, timer)


def examples(system, model, manifest: Manifest, rows: list[int], options: Options) -> Examples:
    """Make the examples of some rows, and see that they can be asked.

    Raises:
        ValueError: they cannot.
    """
    others = control.of_all(options.audio, manifest, system.branches, system.preset.seed)
    kept = system.preset.section("data", loader.Config).cache_mb  # sounds are asked about again
    made = Examples.of(
        system,
        manifest.subset(rows),
        options.task,
        answer=False,
        controls=others,
        cache_mb=kept,
        encoders=states.origins(system, model),
    )
    check.rows(made)
    check.references(made)
    return made


def _parts(asked: Answerer, manifest: Manifest, rows: list[int], options: Options) -> list:
    """Part the batches that `answer` would make: [[row numbers of a batch, ...], ...]."""
    data = loader.Config(max_batch_s=many.share(asked, options.max_batch_s))
    order = data.sampler(manifest, seed=0, shuffle=False).epoch(0)
    batches = [[rows[i] for i in batch] for batch in order]
    return [batches[i : i + PART] for i in range(0, len(batches), PART)]


def _gather(answered, file, tally: Tally, progress) -> None:
    """Write the lines of each part as it comes."""
    for text, part in answered:
        file.write(text)
        file.flush()
        tally.join(part)
        if progress:
            progress(part.n_utterances)


def _fitting(space: room.Room, manifest: Manifest, left: list[int], options, tally) -> list[int]:
    """Take out what is too long for this machine, longest first.

    Raises:
        ValueError: there is such an utterance, and `on_error` is "stop".
    """
    lengths = manifest.durations  # of media: 0 of text alone
    out = set()
    for i in sorted(left, key=lambda i: -lengths[i]):
        if lengths[i] <= room.LONG_S:
            break
        try:
            space.check(float(lengths[i]))
        except ValueError as error:
            where = f"{manifest.path}:{manifest.line(i)}: utterance {manifest[i]['id']!r}: {error}"
            if options.on_error == "stop":
                raise ValueError(f"{where} (--on-error skip goes on without it)") from None
            tally.errors.append(where)
            out.add(i)
    return [i for i in left if i not in out]


def answer(asked: Answerer, found: Examples, file, options: Options, tally, progress):
    """Answer row after row, a line an utterance."""
    began = time.perf_counter()
    for told in answering.answers(asked, found, options, tally):
        now = time.perf_counter()
        rows = [found.manifest[i] for i, _ in told]
        # what flows has no first batch that could be left out: others are under way in it
        tally.add(sum(seconds(row) for row in rows), now - began, len(rows), asked.refills)
        for row, (_, answer) in zip(rows, told, strict=True):
            entry = line(found, row, answer, (now - began) / len(rows))
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        file.flush()
        began = now
        if progress:
            progress(len(rows))
