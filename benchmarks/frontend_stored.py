"""FLAC files to stored features: `features extract` against decoding alone and against others."""

import functools
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import frontend_table as table
import numpy as np
import torch

import features
from features import extract
from features.sources import Item


def race(args, peers, clock, threads: int) -> None:
    """FLAC to stored features by `features extract` in so many processes, against the decoding.

    Each file is taken several times, as another utterance. What starts processes is not timed: a
    round lasts from the first piece that is done to the last.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        files = peers.flac_files(args.data, Path(folder), 40)
        files *= (2 if args.quick else 64) * threads  # whole shards, of 256 utterances
        items = [Item(str(i), str(path)) for i, path in enumerate(files)]
        each = functools.partial(pool.map, chunksize=10) if threads > 1 else map
        others = [peers.compliance("fbank"), peers.native("Fbank")] if threads == 1 else []
        ways = {
            "ours, `features extract`": lambda mark: _extract(items, folder, threads, mark),
            "decoding alone": lambda mark: _each(each, _decode, files, mark),
        }
        for name, method in filter(None, others):
            job = functools.partial(_store, folder, method)
            ways[name] = lambda mark, job=job: _each(each, job, files[:40], mark)
        seconds: dict = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, way in ways.items():
                marks: list = []
                way(lambda audio_s, marks=marks: marks.append((clock(), audio_s)))
                (began, before), (ended, after) = marks[0], marks[-1]
                seconds[name].append((ended - began) / (after - before))
        title = f"{len(files)} FLAC files to features, {threads}-process"
        table.show(title, seconds, 1.0, {})


def _extract(items, folder: str, jobs: int, mark) -> None:
    """What the command does, into a fresh folder."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        extract.extract(
            items, out, "kaldi_fbank80", jobs=jobs, progress=lambda tally: mark(tally.audio_s)
        )


def _each(mapping, job, files, mark) -> None:
    done_s = 0.0
    for audio_s in mapping(job, files):
        done_s += audio_s
        mark(done_s)


def _decode(path) -> float:
    """Seconds of sound in the file, after decoding all of it."""
    wave, rate = features.load(path)
    return len(wave) / rate


def _store(folder: str, method, path: Path) -> float:
    wave, rate = features.load(path)
    np.save(Path(folder) / f"{path.stem}.npy", method(wave))
    return len(wave) / rate
