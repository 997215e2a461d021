"""How a long manifest opens, begins and resumes: seconds and memory, ours against others.

    python benchmarks/data.py --out DIR [--lines 10000000] [--peers list datasets lhotse]

DIR gets a manifest of that many made-up lines (160 bytes each), and the peers' caches. Each figure
comes from a process of its own: `open` is up to where batches can be asked for (`once`: with no
index or cache yet), `first` is the rows of batch 0, `resume` those of a batch in the middle of the
second epoch; `CPU` is the seconds of processor time of all three. `MB` is the process's peak of
resident memory (VmHWM: its own and of mapped files, torch's libraries among them) and, behind +,
what of it came after the imports. Audio is not read.

lhotse reads cuts, which are written once from the manifest; its lazy sampler knows a batch only by
walking through those before it, so its `resume` grows with the epoch: take fewer lines.
"""

import argparse
import contextlib
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

MAX_BATCH_S, MAX_ROWS, SEED = 120.0, 256, 0


def main() -> None:
    """Print a row for each program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--peers", nargs="*", default=["list", "datasets", "lhotse"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    path = args.out / f"{args.lines}.jsonl"
    if args.measure:
        print(json.dumps(PROGRAMS[args.measure](path)))
        return
    write(path, args.lines)
    print(f"{args.lines:,} lines, {path.stat().st_size / 1e6:,.0f} MB\n")
    print(f"{'':<24}{'open s':>9}{'first s':>9}{'resume s':>10}{'CPU s':>9}{'MB':>8}")
    ours = ["ours, once", "ours"]
    for name in [*ours, *(f"{peer}{k}" for peer in args.peers for k in (", once", ""))]:
        report(name, args)


def report(name: str, args: argparse.Namespace) -> None:
    """Measure one program in a process of its own."""
    words = [sys.executable, __file__, "--out", str(args.out), "--lines", str(args.lines)]
    if name not in PROGRAMS:
        return
    done = subprocess.run([*words, "--measure", name], capture_output=True, text=True)
    if done.returncode:
        print(f"{name:<24}{done.stderr.strip().splitlines()[-1][:90]}", flush=True)
        return
    r = json.loads(done.stdout.splitlines()[-1])
    times = f"{r['open']:>9.3f}{r['first']:>9.3f}{r['resume']:>10.3f}"
    times += f"{r['cpu']:>9.2f}"
    print(f"{name:<24}{times}{r['mb']:>8.0f}  +{r['mb'] - r['imports_mb']:.0f}", flush=True)


def write(path: Path, n: int) -> None:
    """Write the manifest, once: lengths of 1 to 20 s, texts to match."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    text = " ".join(rng.choices("alpha beta gamma delta epsilon".split(), k=100))
    part = path.with_suffix(".part")
    with open(part, "w", encoding="utf-8") as file:
        for i in range(n):
            seconds = round(rng.uniform(1, 20), 2)
            start = rng.randrange(200)
            said = text[start : start + int(seconds * 6)].strip()
            file.write(
                f'{{"id": "utt-{i:09d}", "audio": "clips/{i // 1000:06d}/{i:09d}.flac", '
                f'"duration": {seconds}, "text": "{said}"}}\n'
            )
    part.rename(path)


class Watch:
    """Seconds between calls, and the memory that imports had taken."""

    def __init__(self):
        self.facts = {"imports_mb": peak_mb()}
        self.began, self.cpu = time.perf_counter(), time.process_time()

    def note(self, name: str) -> None:
        """Note the seconds since the last call under `name`."""
        now = time.perf_counter()
        self.facts[name], self.began = now - self.began, now

    def end(self) -> dict:
        """Return all facts."""
        return {**self.facts, "mb": peak_mb(), "cpu": time.process_time() - self.cpu}


def peak_mb() -> float:
    """Peak resident memory so far, MB (VmHWM of Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def ours(path: Path, once: bool = False) -> dict:
    """Manifest and sampler of this project; `once`: with no index yet."""
    from speechllm.data.index import side_of
    from speechllm.data.loader import Config
    from speechllm.data.manifest import Manifest

    if once:
        side_of(path).unlink(missing_ok=True)
    watch = Watch()
    data = Config(max_batch_s=MAX_BATCH_S, max_rows=MAX_ROWS)
    manifest = data.select(Manifest(path))
    sampler = data.sampler(manifest, SEED, shuffle=True)
    watch.note("open")
    assert [manifest[int(i)] for i in sampler.batch(0)[1]]
    watch.note("first")
    assert [manifest[int(i)] for i in sampler.batch(len(sampler) * 3 // 2)[1]]
    watch.note("resume")
    return watch.end()


def plain_list(path: Path) -> dict:
    """A list of dicts, and `Sampler`, which sorts and shuffles it."""
    import numpy as np
    import torch  # noqa: F401, as ours imports it

    from speechllm.data.sampler import Sampler

    watch = Watch()
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    lengths = np.array([row["duration"] for row in rows])
    sampler = Sampler(lengths, MAX_BATCH_S, MAX_ROWS, SEED)
    watch.note("open")
    assert [rows[i] for i in sampler.batch(0)[1]]
    watch.note("first")
    assert [rows[i] for i in sampler.batch(len(sampler) * 3 // 2)[1]]
    watch.note("resume")
    return watch.end()


def hub_datasets(path: Path, once: bool = False) -> dict:
    """Hugging Face datasets: Arrow on the disk, rows in a shuffled order, no length buckets."""
    import shutil

    import datasets

    cache = path.parent / "datasets"
    if once:
        shutil.rmtree(cache, ignore_errors=True)
    watch = Watch()
    options = {"data_files": str(path), "cache_dir": str(cache), "split": "train"}
    with contextlib.redirect_stdout(sys.stderr):
        order = datasets.load_dataset("json", **options).shuffle(seed=SEED)
    watch.note("open")
    assert order[:12]
    watch.note("first")
    assert order[len(order) // 2 : len(order) // 2 + 12]
    watch.note("resume")
    return watch.end()


def lhotse_cuts(path: Path) -> dict:
    """lhotse: a lazy JSONL manifest and its bucketing sampler, with the same bounds of a batch."""
    import torch  # noqa: F401, as ours imports it
    from lhotse import CutSet
    from lhotse.dataset import DynamicBucketingSampler

    cuts = write_cuts(path)
    options = {"max_duration": MAX_BATCH_S, "max_cuts": MAX_ROWS, "num_buckets": 20}
    watch = Watch()
    sampler = DynamicBucketingSampler(
        CutSet.from_jsonl_lazy(cuts), shuffle=True, seed=SEED, **options
    )
    watch.note("open")
    iterator = iter(sampler)
    assert [cut.id for cut in next(iterator)]
    watch.note("first")
    length = 1 + sum(1 for _ in iterator)
    sampler.set_epoch(1)
    iterator = iter(sampler)
    watch.began = time.perf_counter()  # the first epoch is not counted: it happens once
    for _ in range(length // 2):
        batch = next(iterator)
    assert [cut.id for cut in batch]
    watch.note("resume")
    return watch.end()


def write_cuts(path: Path) -> Path:
    """Write the manifest as lhotse's cuts, once."""
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment

    cuts = path.with_name(f"cuts-{path.name}")
    if cuts.exists():
        return cuts
    part = cuts.with_suffix(".part")
    with open(path, encoding="utf-8") as file, open(part, "w", encoding="utf-8") as out:
        for row in map(json.loads, file):
            n, s = round(row["duration"] * 16000), row["duration"]
            source = AudioSource(type="file", channels=[0], source=row["audio"])
            recording = Recording(row["id"], [source], 16000, n, s)
            said = SupervisionSegment(row["id"], row["id"], 0.0, s, text=row["text"])
            cut = MonoCut(row["id"], 0.0, s, 0, supervisions=[said], recording=recording)
            out.write(json.dumps(cut.to_dict()) + "\n")
    part.rename(cuts)
    return cuts


PROGRAMS = {
    "ours, once": lambda path: ours(path, once=True),
    "ours": ours,
    "list": plain_list,
    "datasets, once": lambda path: hub_datasets(path, once=True),
    "datasets": hub_datasets,
    "lhotse": lhotse_cuts,
}


if __name__ == "__main__":
    main()
