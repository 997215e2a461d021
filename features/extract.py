"""Features of many sound files into a folder: one .npy (T, dim) float32 a file, resumable.

The folder says in `preset.json` what it holds and takes nothing else. A file is written under
another name and then renamed, so what is there is whole: a second run skips it. Workers are
processes of one thread each: coarse work and no fight over cores (several OpenMP threads on a busy
machine can cost a factor of ten).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from features import presets

SUFFIXES = (
    ".wav .flac .ogg .oga .opus .mp3 .aiff .aif .aifc .sph .nist .au .snd .caf .w64 .rf64"
).split()


@dataclass(frozen=True)
class Item:
    """One utterance: a file, or a part of one."""

    id: str
    path: str
    start_s: float = 0.0
    duration_s: float | None = None


@dataclass
class Tally:
    """How far a run has come."""

    total: int
    done: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Seconds of sound a second (inverse real-time factor)."""
        return self.audio_s / max(self.seconds, 1e-9)


def find(source) -> list[Item]:
    """Items of a sound file, of a folder (searched through), or of a JSON Lines manifest.

    A manifest row has `id` and `audio`, and may have `start` and `duration` in seconds; relative
    paths start at the manifest's folder. Raises ValueError when nothing is found, or two items
    would be stored under one name.
    """
    source = Path(source)
    if source.suffix in (".jsonl", ".json"):
        items = list(_manifest(source))
    elif source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        stems = Counter(p.with_suffix("") for p in files)
        # a.flac and a.mp3 side by side keep their suffixes: a.flac.npy, a.mp3.npy
        names = [p if stems[p.with_suffix("")] > 1 else p.with_suffix("") for p in files]
        items = [
            Item(str(n.relative_to(source)), str(p)) for n, p in zip(names, files, strict=True)
        ]
    else:
        items = [Item(source.stem, str(source))]
    if not items:
        raise ValueError(
            f"{source}: no sound in it; wanted {' '.join(SUFFIXES)} or a manifest (.jsonl)"
        )
    _refuse_twins(source, items)
    return items


def extract(
    items: list[Item],
    out,
    preset: str,
    options: dict | None = None,
    jobs: int = 1,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Features of `items` as `out`/<id>.npy; skips what is there, lists what fails in `.errors`.

    Raises ValueError for a wrong preset or option, and for a folder that holds another preset's
    features.
    """
    options = presets.plain(presets.options(preset, **(options or {})))
    out = Path(out)
    _claim(out, {"preset": preset, "options": options})
    todo = [item for item in items if not _target(out, item).exists()]
    tally = Tally(total=len(items), skipped=len(items) - len(todo))
    with _workers(jobs, preset, options) as run:
        started = time.perf_counter()
        results = run(_store, [(item, _target(out, item)) for item in todo])
        for item, (audio_s, error) in zip(todo, results, strict=True):
            tally.done += not error
            tally.audio_s += audio_s
            tally.seconds = time.perf_counter() - started
            if error:
                tally.errors.append(f"{item.id}: {error}")
            progress(tally)
    return tally


def _manifest(path: Path) -> Iterator[Item]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read as a manifest ({error}); wanted JSON Lines"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            start, duration = row.get("start") or 0.0, row.get("duration")
            yield Item(str(row["id"]), str(path.parent / row["audio"]), float(start), duration)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}:{number}: wanted {{"id": ..., "audio": ...}}, got {line[:60]!r} '
                f"({type(error).__name__}: {error}); correct the line"
            ) from None


def _refuse_twins(source: Path, items: list[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        if item.id in seen:
            raise ValueError(
                f"{source}: {seen[item.id]} and {item.path} would both be {item.id}.npy; rename one"
            )
        seen[item.id] = item.path


def _target(out: Path, item: Item) -> Path:
    if ".." in Path(item.id).parts or Path(item.id).is_absolute():
        raise ValueError(
            f"{item.id!r}: an id with '..' or a leading '/' would be stored elsewhere; change it"
        )
    return out / f"{item.id}.npy"


def _claim(out: Path, holds: dict) -> None:
    """Write what the folder holds, or refuse when it holds something else."""
    note = out / "preset.json"
    if note.exists():
        there = json.loads(note.read_text())
        if there != holds:
            changed = [
                k for k, v in holds["options"].items() if there.get("options", {}).get(k) != v
            ]
            raise ValueError(
                f"{out}: holds {there.get('preset')}, wanted {holds['preset']} "
                f"(different: {', '.join(changed) or 'its options'}); give another --out"
            )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(holds, indent=1) + "\n")


@contextmanager
def _workers(
    jobs: int, preset: str, options: dict
) -> Iterator[Callable[[Callable, list], Iterable]]:
    """A `map` over processes, or a plain one for one job."""
    if jobs <= 1:
        _start(preset, options)
        yield map
        return
    context = multiprocessing.get_context("spawn")  # fork and OpenMP do not go together
    with ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(preset, options)) as pool:
        try:
            yield lambda function, work: pool.map(function, work, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_worker: dict = {}


def _start(preset: str, options: dict) -> None:
    import torch

    from features.extractor import get

    torch.set_num_threads(1)
    _worker["extractor"] = get(preset, **options)


def _store(work: tuple[Item, Path]) -> tuple[float, str]:
    """Compute and write one item; (seconds of sound, "" or what went wrong)."""
    import numpy as np

    from features.audio import load

    item, target = work
    extractor = _worker["extractor"]
    try:
        wave, rate = load(item.path, extractor.sampling_rate, item.start_s, item.duration_s)
        x, n = extractor(wave)
        if not n:
            raise ValueError(
                f"{item.path}: {len(wave)} samples are less than one frame; remove it from the list"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        with open(part, "wb") as file:
            np.save(file, x.numpy())
        os.replace(part, target)
    except (ValueError, OSError) as error:
        return 0.0, str(error)
    return len(wave) / rate, ""
