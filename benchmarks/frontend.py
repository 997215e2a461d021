"""How fast the audio front end is: ours against others, medians of interleaved rounds.

    python benchmarks/frontend.py [--data DIR] [--quick] [--rounds 5] [--threads 1 2]

Utterances of 2 to 15 s, one file of an hour (MB: the most memory above input and output; with two
threads ten minutes), a stream, a batch against a loop, FLAC files to stored features, and the same
on a GPU where there is one. Sound comes from --data (or SPEECHLLM_DATA), else it is made up.
RTFx is seconds of sound a second; `times` is how long a row takes in units of the first, `target`
how many times as long it should take at least, or MB at most; each row must agree with the first
before it is timed. With one thread CPU time counts, with more the clock on the wall. Ours starts no
thread: with --threads N torch may use N inside the peers, and one row calls ours from N.
"""

import argparse
import functools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from unittest import mock

import frontend_table as table

TOLERANCE = 1e-3  # two rows with a larger mean difference do not compute the same


def main() -> None:
    """Print the tables, those of each number of threads by a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SPEECHLLM_DATA", ""))
    parser.add_argument("--quick", action="store_true", help="20 utterances, two minutes for long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="tables whose title holds this word")
    args = parser.parse_args()
    if len(args.threads) == 1:
        tables(args, args.threads[0])
        return
    began = time.perf_counter()
    same = [f"--data={args.data}", f"--rounds={args.rounds}", f"--only={args.only}"]
    same += ["--quick"] * args.quick
    for n in map(str, args.threads):
        limits = {f"{name}_NUM_THREADS": n for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
        command = [sys.executable, __file__, *same, "--threads", n]
        subprocess.run(command, check=True, env=os.environ | limits)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


def tables(args, threads: int) -> None:
    """All tables for one number of threads."""
    import frontend_gpu
    import frontend_peers as peers
    import frontend_stored
    import torch

    from features import kernel

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    cpu = torch.backends.cpu.get_cpu_capability()
    print(f"\n{threads} thread(s), {cpu}, torch {version('torch')}; {_kernel(kernel)}")
    waves = peers.waves(args.data, 20 if args.quick else 200 // threads)
    long = peers.long(waves, 120 if args.quick else 3600 if threads == 1 else 600)
    for title, rows in groups(peers, args.only).items():
        many = f"{title}, {len(waves)} utterances"
        pooled = [(f"ours, called from {threads} threads", rows[0][1])] if threads > 1 else []
        race(many, [*rows, *pooled], waves, args.rounds, clock)
        if "kaldi" in title or "hamming" in title or title == "whisper80":
            title = f"{title}, one of {len(long) / peers.RATE:.0f} s"
            race(title, rows, [long], min(3, args.rounds), clock)
    if args.only in "stream" and threads == 1:
        rows = [("ours", _stream(peers.CHUNK)), *filter(None, [peers.online()])]
        race("fbank80 in chunks of 100 ms", rows, waves[:50], args.rounds, clock)
    if args.only in "batch":
        batch(waves[:32], args.rounds, clock)
    if args.only in "GPU" and threads == 1:
        frontend_gpu.race(functools.partial(table.compare, "GPU, 64 x 15 s"), args.rounds)
    if args.only in "stored":
        frontend_stored.race(args, peers, clock, threads)


def _kernel(kernel) -> str:
    native, _ = kernel.load()
    return f"C kernel {native.name}" if native else "no C kernel"


def groups(peers, only: str) -> dict:
    """Rows (name, function of a wave) by title; the first row is ours."""
    librosa = {"n_fft": 512, "drop_last": False, "offset": 0.0, "divisor": 0.1}
    cepstra = {**librosa, "num_mel_bins": 40, "num_ceps": 13, "top_db": 0.0}
    window = {"pad_to_s": 30.0}
    hamming = {"window": "hamming"}
    rows = (
        ("fbank80 (hamming)", "kaldi_fbank80", hamming, peers.asrfront("fbank")),
        ("kaldi fbank80", "kaldi_fbank80", {}, peers.compliance("fbank"), peers.native("Fbank")),
        ("kaldi mfcc13", "kaldi_mfcc13", {}, peers.compliance("mfcc"), peers.native("Mfcc")),
        ("whisper80", "whisper80", {}, peers.whisper("torch core"), peers.asrfront("log-mel")),
        (
            "whisper80 in 30 s",
            "whisper80",
            window,
            peers.whisper("public call"),
            peers.asrfront("log-mel 30 s"),
        ),
        ("whisper128", "whisper128", {}, peers.asrfront("log-mel 128")),
        ("librosa's mel", "whisper80", librosa, peers.rosa("melspectrogram")),
        ("librosa's mfcc", "whisper80", cepstra, peers.rosa("mfcc")),
    )
    found = {}
    for title, preset, options, *others in (row for row in rows if only in row[0]):
        torch_alone = ("ours, without the C kernel", _slow(preset, options))
        found[title] = [("ours", _ours(preset, options)), torch_alone, *filter(None, others)]
    return found


def _ours(preset: str, options: dict):
    import features

    extractor = features.get(preset, **options)
    return lambda wave: extractor(wave)[0].numpy()


def _slow(preset: str, options: dict):
    """Ours with the kernel out of the way."""
    from features import fast

    slow = _ours(preset, options)

    def compute(wave):
        with mock.patch.object(fast, "_plan", lambda *_: None):
            return slow(wave)

    return compute


def _stream(size: int):
    import torch

    import features

    extractor = features.get("kaldi_fbank80")

    def compute(wave):
        stream = extractor.stream()
        rows = [stream(wave[start : start + size]) for start in range(0, len(wave), size)]
        return torch.cat([*rows, stream.flush()]).numpy()

    return compute


def race(title: str, rows, waves, rounds: int, clock) -> None:
    """Time all rows on all waves in turns, and print the table."""
    import torch

    audio_s = sum(map(len, waves)) / 16000
    seconds: dict = {name: [] for name, _ in rows}
    memory: dict = {}
    _agree(title, rows, waves[0][:80000])
    for _ in range(rounds):
        for name, method in rows:
            before = table.memory_mb("VmRSS")
            began = clock()
            if "called from" in name:
                with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                    pool.map(method, waves)
            else:
                for wave in waves:
                    x = method(wave)
            seconds[name].append(clock() - began)
            if len(waves) == 1:
                extra = table.memory_mb("VmHWM") - before - x.nbytes / 2**20
                memory[name] = max(extra, memory.get(name, 0.0))
            x = None
    table.show(title, seconds, audio_s, memory)


def _agree(title: str, rows, wave) -> None:
    import numpy as np

    first = rows[0][1](wave)
    for name, method in rows[1:]:
        x = method(wave)
        apart = float(np.abs(first - x).mean()) if first.shape == x.shape else np.inf
        assert apart < TOLERANCE, f"{title}: {name} computes something else ({apart:.1e})"


def batch(waves, rounds: int, clock) -> None:
    """A batch against a loop that keeps its results."""
    import numpy as np

    import features

    fbank = features.get("kaldi_fbank80")
    lengths = [len(wave) for wave in waves]
    padded = np.zeros((len(waves), max(lengths)), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    ways = {
        "ours, batch with lengths": lambda: fbank(padded, lengths),
        "loop": lambda: [fbank(wave) for wave in waves],
    }
    title = f"kaldi fbank80, batch of {len(waves)}"
    table.compare(title, ways, sum(lengths) / 16000, rounds * 10, clock)


if __name__ == "__main__":
    main()
