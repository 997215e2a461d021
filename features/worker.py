"""One process of an extraction: sound in, features out into a shard of its own.

A file longer than ten minutes is read and stored in slabs, so that memory does not grow with it: a
FLAC of four silent hours has 0.7 MB. The features are those of the whole file, to the bit.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np

from features.sources import Item

SLAB_S = 600  # what is longer is read in slabs
# at most so much where the front end needs all of it: 230 MB of samples, which are held twice
WHOLE_S = 3600
CHUNK = 1 << 20  # samples

_worker: dict = {}


def join(preset: str, options: dict, stop, failures) -> None:
    """Start a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where the server was there before, and hears
    start(preset, options)
    _worker.update(stop=stop, failures=failures, closer=ThreadPoolExecutor(1), closing=None)


def start(preset: str, options: dict) -> None:
    import torch

    from features.extractor import get

    torch.set_num_threads(1)
    _worker["extractor"] = get(preset, **options)


def store_with(settings: tuple[str, dict], work: tuple) -> list[tuple[float, str]]:
    """`store` in a process that nobody has started: of a cluster, which keeps it for more."""
    if _worker.get("settings") != settings:
        start(*settings)
        _worker["settings"] = settings
    return store(work)


def store(work: tuple[str, str, str, list[Item]]) -> list[tuple[float, str]]:
    """Compute and write one shard; of each item (seconds of sound, "" or what went wrong)."""
    from features import archive, stored

    kind, out, name, items = work
    shard = {"shards": stored.Writer, "ark": archive.Writer}[kind](out, name)
    outcomes, stop = [], _worker.get("stop")
    try:
        for item in items:
            if stop and stop.is_set():
                break
            outcomes.append(_add(item, shard, out))
    finally:
        _close(shard)
    return outcomes


def _close(shard) -> None:
    """Flush a shard, in a worker process by its second thread, one shard at a time."""
    if "closer" not in _worker:
        shard.flush()
        return
    if _worker["closing"]:
        _worker["closing"].result()
    _worker["closing"] = _worker["closer"].submit(_flush, shard)


def _flush(shard) -> None:
    try:
        shard.flush()
    except Exception as error:  # for the process that asked; the future may have no reader
        _worker["failures"].put(error)


class UnreadableError(ValueError):
    """What is wrong with one file, also when it is found while features of it are written."""


@contextmanager
def _its_fault() -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise UnreadableError(error) from None


def _add(item: Item, shard, out: str) -> tuple[float, str]:
    """Extract one item; seconds of sound, and "" or what is wrong with it."""
    from features import requests
    from features.audio import blocks

    rate = _worker["extractor"].sampling_rate
    request = requests.of(item, out)  # before it is read: what changes meanwhile is made anew
    try:
        with ExitStack() as stack:
            with _its_fault():
                wave = blocks(item.path, rate, item.start_s, item.duration_s, True, item.channel)
                wave = stack.enter_context(wave)
                shape, n, slabs = _features(item, wave)
            shard.add_slabs(item.id, shape, n, slabs, request)
    except UnreadableError as error:
        return 0.0, f"{item.id}: {error}"
    return wave.n_samples / rate, ""


def _features(item: Item, wave) -> tuple[tuple[int, ...], int, Iterable]:
    """Shape of the features of a wave, how many rows are valid, and the features in slabs."""
    extractor = _worker["extractor"]
    length_s, n = wave.n_samples / wave.sampling_rate, extractor.count(wave.n_samples)
    if not n:
        raise ValueError(
            f"{item.path}: {wave.n_samples} samples are less than one frame; "
            "remove it from the list"
        )
    whole = extractor._options.whole
    if length_s <= SLAB_S or whole and length_s <= WHOLE_S:
        x, n = extractor(wave.all())
        return tuple(x.shape), n, [x]
    if whole:
        raise ValueError(
            f"{item.path}: lasts {length_s:.0f} s, wanted at most {WHOLE_S} s, as {extractor.name} "
            f"needs all of it at once ({whole}); give parts of it (start, duration)"
        )
    stream = extractor.stream()
    empty = stream(np.zeros(0, np.float32))
    return (n, *empty.shape[1:]), n, _slabs(wave, stream)


def _slabs(wave, stream) -> Iterator[np.ndarray]:
    """Features of a wave that is too long for the memory."""
    with _its_fault():
        for chunk in wave:
            for at in range(0, len(chunk), CHUNK):
                yield stream(chunk[at : at + CHUNK]).numpy()
        yield stream.flush().numpy()
