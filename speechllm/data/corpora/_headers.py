"""Length and channels of many sound files, read by threads, or by the processes of a cluster."""

import contextlib
import contextvars
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

import features
from features.audio import Info

PIECE = 1000  # headers that a process of a cluster reads at a time
# the `map` of a cluster that reads headers, while one does (features/cluster.py)
ELSEWHERE: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("map", default=None)


def measure(paths: Iterable[str], workers: int = 0) -> dict[str, Info | str]:
    """Length and channels of each file, or what is wrong with it, read in threads."""
    paths = sorted(paths)
    with _mapping(workers) as run:
        lengths = run(_length, paths)
        bar = tqdm(lengths, total=len(paths), desc="reading headers", unit="file", disable=None)
        return dict(zip(paths, bar, strict=True))


@contextlib.contextmanager
def _mapping(workers: int):
    """Give a `map` over threads, or over the processes of a cluster."""
    if ELSEWHERE.get():
        yield functools.partial(_pieces, ELSEWHERE.get())
        return
    # Opening waits for the disk, so more threads than cores pay, most of all on a network drive.
    with ThreadPoolExecutor(workers or 2 * (os.cpu_count() or 1)) as pool:
        yield pool.map


def _pieces(run: Callable, job: Callable, paths: list[str]) -> Iterator:
    pieces = [paths[i : i + PIECE] for i in range(0, len(paths), PIECE)]
    return itertools.chain.from_iterable(run(functools.partial(_all, job), pieces))


def _all(job: Callable, paths: list[str]) -> list:
    return [job(path) for path in paths]


def _length(path: str) -> Info | str:
    try:
        info = features.info(path)
    except (ValueError, OSError) as error:
        return str(error)
    return info if info.n_samples else f"{path}: it holds no samples"
