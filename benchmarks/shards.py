"""Reading speech for training: shards against loose files, and against webdataset and lhotse.

    python benchmarks/shards.py MANIFEST --work DIR [--n 500]

The same sounds, as WAV files, as our tar shards (FLAC), and as lhotse Shar (FLAC). One process
reads all of them once in the order they lie in, and gets float32 waves. After a round that fills
the cache of the system nine in which the ways take turns; medians of the time that the processor
spends, and of a way's time over ours in the same round. webdataset reads our very tar files,
soundfile decodes. Peers that are not installed are left out and named.
"""

import argparse
import importlib.util
import io
import statistics
import time
from pathlib import Path

import soundfile

from speechllm.data import sharding
from speechllm.data.manifest import Manifest, write
from speechllm.media import audio


def prepare(manifest: Path, work: Path, n: int) -> Manifest:
    """Write n sounds as WAV files with a manifest."""
    rows = Manifest(manifest)
    work.mkdir(parents=True, exist_ok=True)
    made = []
    for i in range(min(n, len(rows))):
        wave = audio.open(rows[i], 16000)
        path = work / "loose" / f"{i // 100:03d}" / f"{i:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, 16000, subtype="PCM_16")
        made.append({**rows[i], "audio": str(path), "start": 0.0, "duration": len(wave) / 16000})
    write(work / "loose.jsonl", made)
    return Manifest(work / "loose.jsonl")


def ours(rows: Manifest) -> int:
    """Read a manifest in its order; number of samples."""
    return sum(len(audio.open(rows[i], 16000)) for i in range(len(rows)))


def webdataset(tars: list[Path]) -> int:
    """Read tar files as webdataset does."""
    import webdataset

    found = 0
    for sample in webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False):
        wave, _ = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")
        found += len(wave)
    return found


def to_shar(rows: Manifest, folder: Path) -> None:
    """Write lhotse Shar."""
    import lhotse

    folder.mkdir(parents=True, exist_ok=True)
    cuts = []
    for row in rows:
        recording = lhotse.Recording.from_file(row["audio"], recording_id=row["id"])
        cuts.append(recording.to_cut())
    lhotse.CutSet.from_cuts(cuts).to_shar(folder, fields={"recording": "flac"}, shard_size=500)


def shar(folder: Path) -> int:
    """Read lhotse Shar."""
    import lhotse

    return sum(cut.load_audio().shape[1] for cut in lhotse.CutSet.from_shar(in_dir=folder))


def race(ways: dict, rounds: int = 9) -> dict[str, list[float]]:
    """Seconds of each round of each way, which take turns, after a round that does not count."""
    n, found = {name: read() for name, read in ways.items()}, {name: [] for name in ways}
    assert len({*n.values()}) == 1, n
    for i in range(rounds):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            began = time.process_time()
            assert ways[name]() == n[name]
            found[name].append(time.process_time() - began)
    return found


def main() -> None:
    """Print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n", type=int, default=500)
    args = parser.parse_args()
    rows = prepare(args.manifest, args.work, args.n)
    sharding.shard(rows.path, sharding.Config(str(args.work / "shards"), "speech", seed=None))
    packed = Manifest(args.work / "shards" / "speech.jsonl")
    tars = sorted((args.work / "shards").glob("*.tar"))
    ways = {
        "loose WAV files": lambda: ours(rows),
        "our shards, FLAC": lambda: ours(packed),
        "webdataset, the same tars": lambda: webdataset(tars),
        "lhotse Shar, FLAC": lambda: shar(args.work / "shar"),
    }
    if importlib.util.find_spec("lhotse"):
        to_shar(rows, args.work / "shar")
    for name in [*ways]:
        peer = name.split(",")[0].split()[0]
        if peer in ("webdataset", "lhotse") and not importlib.util.find_spec(peer):
            print(f"{name}: not installed")
            del ways[name]
    hours = sum(row["duration"] for row in rows) / 3600
    found = race(ways)
    us = found["our shards, FLAC"]
    for name, seconds in found.items():
        typical = statistics.median(seconds)
        ratio = statistics.median(a / b for a, b in zip(seconds, us, strict=True))
        print(f"{name:28} {len(rows) / typical:8.0f} utterances a second, "
              f"{3600 * hours / typical:8.0f} x real time, {ratio:.3f} of our time")  # fmt: skip


if __name__ == "__main__":
    main()
