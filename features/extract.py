"""Features of many sound files into a folder: shards or Kaldi archives, resumable.

The folder says in `preset.json` what it holds and takes nothing else. What stands in it is whole:
a second run skips it. Workers are processes that compute in one thread each, and each writes shards
of its own: coarse work and no fight over cores (several OpenMP threads on a busy machine can cost a
factor of ten). While one shard is flushed to the disk the next is computed. A run that is
interrupted stores what it has; one that is killed loses two shards a worker.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path

from features import presets, worker
from features.sources import Item

KINDS = ("shards", "ark")
PER_SHARD = 256  # utterances at most


@dataclass
class Tally:
    """How far a run has come.

    anew: ids that stood there, but of something else. unsaid: ids there that do not say of what.
    """

    total: int
    done: int = 0
    skipped: int = 0
    anew: int = 0
    unsaid: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def rtfx(self) -> float:
        """Speed in times real time: seconds of sound a second."""
        return self.audio_s / max(self.seconds, 1e-9)


def extract(
    items: list[Item],
    out,
    preset: str,
    options: dict | None = None,
    jobs: int = 1,
    progress: Callable[[Tally], None] = lambda tally: None,
    kind: str = "shards",
    ray: str = "",
) -> Tally:
    """Features of `items` into the folder `out`; skips what is there, lists failures in `.errors`.

    There is what was made of the same file, times and channel; the rest is made, or made anew. An
    id that stands there for another file is refused.

    `kind` is "shards" (`stored.Stored` reads them) or "ark" (Kaldi's, with feats.scp). `ray` is the
    address of a cluster that works in place of processes here, "local" for one of `jobs` processes;
    the files are the same. Raises ValueError for a wrong preset, option or kind, for a folder that
    holds other features or in which another run writes, and for a disk that is full.
    """
    from features import archive, folder, requests

    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: wanted {' or '.join(map(repr, KINDS))}")
    options = presets.plain(presets.options(preset, **(options or {})))
    wanted = json.loads(json.dumps({"preset": preset, "options": options}))
    with folder.writing(out, wanted):
        _refuse_other_kind(Path(out), kind)
        there = requests.made(out, kind)
        wanted = {item.id: requests.of(item, out) for item in items}
        requests.refuse_others(out, wanted, there)
        both = wanted.keys() & there.keys()
        stale = {id for id in both if not requests.same(wanted[id], there[id])}
        requests.forget(out, kind, stale)
        todo = [item for item in items if item.id in stale or item.id not in there]
        tally = Tally(total=len(items), skipped=len(items) - len(todo), anew=len(stale))
        tally.unsaid = sum(there[id] is None for id in both)
        shards = _shards(todo, jobs, folder.next_number(out))
        home = os.path.abspath(out) if ray else str(out)
        pieces = [(kind, home, *shard) for shard in shards]
        with (
            _anywhere(ray, jobs, preset, options) if ray else _workers(jobs, preset, options) as run
        ):
            _gather(run(worker.store, pieces), tally, progress)
        if kind == "ark":
            archive.join(out)
    return tally


def _refuse_other_kind(out: Path, kind: str) -> None:
    other, held = {"shards": ("*-*.scp", "ark"), "ark": ("*-*.json", "shards")}[kind]
    if next(out.glob(other), None):
        raise ValueError(f"{out}: holds --format {held}, wanted {kind}; give another --out")


def _shards(todo: list[Item], jobs: int, first: int) -> list[tuple[str, list[Item]]]:
    """Names and items of what each worker does at a time: enough pieces for all to be busy."""
    size = min(PER_SHARD, max(1, len(todo) // (8 * max(jobs, 1))))
    pieces = [todo[i : i + size] for i in range(0, len(todo), size)]
    return [(f"{first + i:05d}", piece) for i, piece in enumerate(pieces)]


def _gather(results: Iterable[list], tally: Tally, progress: Callable[[Tally], None]) -> None:
    started = time.perf_counter()
    try:
        for outcomes in results:
            for audio_s, error in outcomes:
                tally.done += not error
                tally.audio_s += audio_s
                if error:
                    tally.errors.append(error)
            tally.seconds = time.perf_counter() - started
            progress(tally)
    except BrokenProcessPool:
        raise ValueError(
            "a worker was killed (out of memory?); run the same line again with fewer --jobs"
        ) from None


@contextmanager
def _anywhere(
    address: str, jobs: int, preset: str, options: dict
) -> Iterator[Callable[[Callable, list], Iterable]]:
    """A `map` of `worker.store` over a cluster; paths are whole: its processes start elsewhere."""
    from features import cluster

    job = functools.partial(worker.store_with, (preset, options))
    with cluster.workers(address, jobs) as run:
        yield lambda _, pieces: run(job, map(cluster.whole, pieces))


@contextmanager
def _workers(
    jobs: int, preset: str, options: dict
) -> Iterator[Callable[[Callable, list], Iterable]]:
    """A `map` over processes, or a plain one for one job."""
    if jobs <= 1:
        worker.start(preset, options)
        yield map
        return
    # a server that has imported, and computed nothing: fork and OpenMP do not go together
    server = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if server else "spawn")
    context.set_forkserver_preload(["features.audio", "features.worker"])
    if server:
        resource_tracker.ensure_running()  # it would undo what `_map` does
    stop, failures = context.Event(), context.SimpleQueue()
    settings = preset, options, stop, failures
    with ProcessPoolExecutor(jobs, context, initializer=worker.join, initargs=settings) as pool:
        try:
            yield functools.partial(_map, pool)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if not failures.empty():
        raise failures.get()


def _map(pool: ProcessPoolExecutor, function: Callable, work: list) -> Iterable:
    """Let processes work, deaf to the Ctrl-C that a terminal sends to all of them.

    While they start this one is deaf, too: what is half started could not be stopped.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return pool.map(function, work, chunksize=1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # they inherit it
    try:
        return pool.map(function, work, chunksize=1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
