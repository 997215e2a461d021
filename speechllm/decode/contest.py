"""One contestant of a benchmark: all its sets, its latency and memory, in a process of its own.

    run(Contestant("tiny.en", "transformers", "openai/whisper-tiny.en"), jobs, Settings())

leaves `hyp.jsonl` and `decode.json` (what answered, how) and `measured.json` (latency of single
files, memory) in the folder of each job. A process of its own, so that the peak is this one's.
"""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm import files, provenance

OURS, TRANSFORMERS, PROGRAM = "ours", "transformers", "program"
MEASURED = "measured.json"
STOPPED = "stopped"
EXPECTED = (ValueError, OSError, FloatingPointError)  # said in one line


@dataclass(frozen=True)
class Contestant:
    """Who takes part: a name for the tables, what it is, and its folder, Hub name or command."""

    name: str
    kind: str
    source: str


@dataclass(frozen=True)
class Settings:
    """How all of them are run.

    Attributes:
        max_batch_s: rows times what the longest costs, in seconds.
        precision: "fp32" or "bf16".
        device: as torch names it.
        again: begin anew, whatever answers are there.
        latency_files: so many single files, of all lengths, are timed.
    """

    max_batch_s: float = 240.0
    precision: str = "fp32"
    device: str = "cpu"
    again: bool = False
    latency_files: int = 10


Job = tuple[Path, Path]  # manifest, folder of its answers


def run(contestant: Contestant, jobs: list[Job], settings: Settings) -> tuple[int, str]:
    """Take part in a process of its own.

    Returns:
        How many of the jobs are done, and why not all of them, "" if they are.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, contestant, jobs, settings), daemon=True)
    process.start()
    theirs.close()
    done, reason = 0, None
    try:
        while reason is None:
            done, reason = ours.recv()
    except EOFError:
        process.join()
        reason = f"its process ended with {process.exitcode}"
        reason += " (out of memory?)" if process.exitcode == -9 else ""
    process.join()
    if reason == STOPPED:
        raise KeyboardInterrupt
    return done, reason


def _child(pipe, contestant: Contestant, jobs: list[Job], settings: Settings) -> None:
    threading.Thread(target=_follow, daemon=True).start()
    try:
        pipe.send(here(contestant, jobs, settings, lambda done: pipe.send((done, None))))
    except KeyboardInterrupt:
        pipe.send((0, STOPPED))


def _follow() -> None:
    """End with the process that started this one, also where that was killed: nobody would ask."""
    multiprocessing.parent_process().join()
    os._exit(1)


def here(contestant: Contestant, jobs: list[Job], settings: Settings, told=None) -> tuple[int, str]:
    """Take part in this process; `told` is called with the number of jobs done. As `run`."""
    done = 0
    try:
        for done in take_part(contestant, jobs, settings):  # noqa: B007
            if told:
                told(done)
    except EXPECTED as error:
        return done, str(error)
    return done, ""


def take_part(contestant: Contestant, jobs: list[Job], settings: Settings) -> Iterator[int]:
    """Answer each job and measure; yield how many are done.

    Raises:
        ValueError: it cannot be loaded, or cannot hear something.
    """
    from tqdm import tqdm

    from speechllm.data.manifest import Manifest

    with _opened(contestant, settings) as (hearer, answer):
        for number, (path, folder) in enumerate(jobs, start=1):
            manifest = Manifest(path)
            facts = {"contestant": contestant.name, "kind": contestant.kind}
            facts |= {"source": contestant.source, "device": settings.device}
            named = f"{contestant.name} {path.stem}"
            with tqdm(total=len(manifest), unit="utt", desc=named, disable=None) as bar:
                tally = answer(manifest, folder, bar.update, facts)
                bar.update(tally.n_done_before)
            _measure(hearer, manifest, folder, settings, tally.n_utterances > 0)
            yield number


@contextlib.contextmanager
def _opened(contestant: Contestant, settings: Settings) -> Iterator[tuple]:
    """Give a hearer, and what answers a manifest: (manifest, folder, progress, facts) -> tally."""
    from speechllm.decode.recognise import Transformer, recognise

    if contestant.kind == OURS:
        yield _ours(contestant, settings)
        return
    if contestant.kind == PROGRAM:
        from speechllm.decode.program import Program

        hearing = Program(contestant.source)
    else:
        from speechllm.models import recognisers

        how = settings.device, True, settings.precision
        hearing = contextlib.nullcontext(Transformer(recognisers.load(contestant.source, *how)))
    with hearing as hearer:

        def answer(manifest, folder, progress, facts):
            how = settings.max_batch_s, progress, settings.again, facts
            return recognise(hearer, manifest, folder, *how)

        yield hearer, answer


def _ours(contestant: Contestant, settings: Settings) -> tuple:
    """A model of ours: it decodes as `speechllm decode` does, and hears single files as `ask`."""
    from speechllm.data import examples
    from speechllm.decode.run import Options, decode
    from speechllm.decode.settings import Config, usual
    from speechllm.decode.speech import Speech
    from speechllm.media import audio
    from speechllm.models import store

    system, model = store.load(store.find(Path(contestant.source)))
    model.to(settings.device)
    options = Options(
        search=Config(**usual(system.preset, {}, "asr")),
        task=examples.asked(system.preset, "asr"),
        max_batch_s=settings.max_batch_s,
        workers=0,
        precision=settings.precision,
    )
    speech = Speech(system, model)

    class Hearer:
        def hear(self, rows: list[dict]) -> list[str]:
            return speech.transcribe([audio.open(row, speech.sampling_rate) for row in rows])

    def answer(manifest, folder, progress, facts):
        return decode(system, model, manifest, folder, options, progress, settings.again, facts)

    return Hearer(), answer


def _measure(hearer, manifest, folder: Path, settings: Settings, is_new: bool) -> None:
    """Time single files; write that, and the memory so far, beside the answers."""
    path = folder / MEASURED
    if path.exists() and not is_new:
        return
    by_length = np.argsort(manifest.lengths_s, kind="stable")
    some = np.linspace(0, len(manifest) - 1, min(settings.latency_files, len(manifest)))
    rows = [manifest[int(by_length[i])] for i in some.round().astype(int)]
    times = []
    if rows:
        hearer.hear(rows[:1])  # warm
    for row in rows:
        began = time.perf_counter()
        hearer.hear([row])
        times.append(round(time.perf_counter() - began, 4))
    peak = getattr(hearer, "peak_mb", 0.0) or provenance.peak_memory_mb()
    more = {"latency_s": times, "threads": _threads(), "precision": settings.precision}
    files.write_json(path, {"peak_memory_mb": round(peak), **more, **_gpu(settings.device)})


def _gpu(device: str) -> dict:
    if not device.startswith("cuda"):
        return {}
    import torch

    return {"gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 1e6)}


def _threads() -> int:
    import torch

    return int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
