"""How fast the audio front end is: ours against others, medians of interleaved rounds.

    python benchmarks/frontend.py [--data DIR] [--quick] [--rounds 5] [--threads 1 2]

Utterances of 2 to 15 s, one file of an hour (with the memory it takes above its output), a batch,
and a folder of FLAC to stored features. Sound comes from --data (or SPEECHLLM_DATA), else it is
made up. RTF is seconds of sound a second; `times` is how much faster ours is than the row, and ours
must agree with it first. With --threads 1 CPU time counts, else the clock on the wall. Ours never
starts a thread: with 2, torch may use two inside the peers, and ours is called from two threads
in the row that says so.
"""

import argparse
import contextlib
import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RATE = 16000
TOLERANCE = 1e-3  # mean difference beyond which two rows do not compute the same


def main() -> None:
    """Print the tables, in one process for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SPEECHLLM_DATA", ""))
    parser.add_argument("--quick", action="store_true", help="20 utterances, two minutes for long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    if len(args.threads) > 1:
        for n in args.threads:
            subprocess.run([*_again(args), "--threads", str(n)], check=True)
        return
    threads = args.threads[0]
    for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    tables(args, threads)


def _again(args) -> list[str]:
    """The command that runs this once more with the same options."""
    quick = ["--quick"] * args.quick
    return [sys.executable, __file__, "--data", args.data, "--rounds", str(args.rounds), *quick]


def tables(args, threads: int) -> None:
    """All tables for one number of threads."""
    import torch

    from features import fast

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    print(f"\n== {threads} thread{'s' * (threads > 1)}; {_cpu()}; {fast.status().split(' (')[0]}")
    waves = _waves(args.data, 20 if args.quick else 200)
    long = _long(waves, 120 if args.quick else 3600)
    for title, methods in groups(threads).items():
        race(f"{title}, {len(waves)} utterances", methods, waves, args.rounds, clock)
        if "kaldi" in title:
            race(f"{title}, {len(long) / RATE:.0f} s", methods, [long], min(3, args.rounds), clock)
    batch(waves[:32], args.rounds, clock)
    stored(args, clock, threads)


def groups(threads: int) -> dict:
    """Tables by title: rows of (name, function of a wave); the first is ours."""
    found = {}
    for title, preset, options, peers in (
        ("kaldi fbank80", "kaldi_fbank80", {}, (_torchaudio("fbank"), _native("Fbank"))),
        ("kaldi mfcc13", "kaldi_mfcc13", {}, (_torchaudio("mfcc"), _native("Mfcc"))),
        ("whisper80", "whisper80", {}, (_whisper("torch core"),)),
        ("whisper80 in 30 s", "whisper80", {"pad_to_s": 30.0}, (_whisper("public call"),)),
        ("mel as librosa's", "whisper80", _librosa_options(80), (_librosa("mel"),)),
        ("mfcc as librosa's", "whisper80", _librosa_options(40, 13), (_librosa("mfcc"),)),
    ):
        ours = _ours(preset, options)
        rows = [("ours", ours), ("ours, without the C kernel", functools.partial(_slow, ours))]
        if threads > 1:
            rows.append(("ours, called from two threads", ours))
        found[title] = rows + [row for row in peers if row]
    return found


def _ours(preset: str, options: dict):
    import features

    extractor = features.get(preset, **options)
    return lambda wave: extractor(wave)[0].numpy()


@contextlib.contextmanager
def _without_kernel():
    from features import fast

    kept, fast.run = fast.run, lambda *_: False
    try:
        yield
    finally:
        fast.run = kept


def _slow(ours, wave):
    with _without_kernel():
        return ours(wave)


def _peer(package: str):
    """Decorator: a row named after the package and its version, None where it is absent."""

    def wrap(make):
        def row(*args):
            try:
                name = f"{package} {version(package)} {' '.join(map(str, args)).lower()}"
                return name, make(*args)
            except (PackageNotFoundError, ImportError) as error:
                print(f"{package}: not here ({error})")
                return None

        return row

    return wrap


@_peer("torchaudio")
def _torchaudio(kind: str):
    import torch
    import torchaudio.compliance.kaldi as compliance

    bins = {"num_mel_bins": 80} if kind == "fbank" else {}
    compute = getattr(compliance, kind)
    return lambda wave: compute(torch.from_numpy(wave)[None] * 32768, **bins).numpy()


@_peer("kaldi-native-fbank")
def _native(kind: str):
    import kaldi_native_fbank as knf
    import numpy as np

    options = getattr(knf, f"{kind}Options")()
    options.frame_opts.dither = 0.0
    if kind == "Fbank":
        options.mel_opts.num_bins = 80
    else:
        options.use_energy = False

    def compute(wave):
        computer = getattr(knf, f"Online{kind}")(options)
        scaled = wave * 32768
        computer.accept_waveform(RATE, scaled.tolist() if len(wave) < 2**20 else scaled)
        computer.input_finished()
        return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])

    return compute


@_peer("transformers")
def _whisper(kind: str):
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=80)
    if kind == "torch core":
        return lambda wave: extractor._torch_extract_fbank_features(wave).T
    return lambda wave: extractor(wave, sampling_rate=RATE, return_tensors="np").input_features[0].T


def _librosa_options(num_mel_bins: int, num_ceps: int = 0) -> dict:
    return {
        "n_fft": 512, "num_mel_bins": num_mel_bins, "num_ceps": num_ceps, "drop_last": False,
        "top_db": 0.0 if num_ceps else 80.0, "offset": 0.0, "divisor": 0.1,
    }  # fmt: skip


@_peer("librosa")
def _librosa(kind: str):
    import librosa

    mel = functools.partial(
        librosa.feature.melspectrogram, sr=RATE, n_fft=512, win_length=400, hop_length=160,
        pad_mode="reflect",
    )  # fmt: skip
    if kind == "mel":
        return lambda wave: librosa.power_to_db(mel(y=wave, n_mels=80)).T
    return lambda wave: (
        librosa.feature.mfcc(
            S=librosa.power_to_db(mel(y=wave, n_mels=40), top_db=None), n_mfcc=13
        ).T
    )


def race(title: str, methods, waves, rounds: int, clock) -> None:
    """Time all methods on all waves in turns, and print the table."""
    import numpy as np

    audio_s = sum(map(len, waves)) / RATE
    seconds, memory, first = {}, {}, None
    for name, method in methods:
        x = method(waves[0][: 5 * RATE])
        first = x if first is None else first
        apart = float(np.abs(first - x).mean())
        assert first.shape == x.shape and apart < TOLERANCE, (title, name, apart)
    for _ in range(rounds):
        for name, method in methods:
            kept = _peak_mb() if len(waves) == 1 else None
            began = clock()
            if "two threads" in name:
                with ThreadPoolExecutor(2) as pool:
                    results = list(pool.map(method, waves))
            else:
                results = [method(wave) for wave in waves]
            seconds.setdefault(name, []).append(clock() - began)
            if kept is not None:
                memory.setdefault(name, _peak_mb(kept) - results[0].nbytes / 2**20)
            del results
    print(f"\n{title:<44}{'RTF':>8}{'times':>8}{'spread':>8}{'MB' if memory else '':>8}")
    best = statistics.median(seconds[methods[0][0]])
    for name, all_s in seconds.items():
        median = statistics.median(all_s)
        spread = (max(all_s) - min(all_s)) / median
        extra = f"{memory[name]:8.0f}" if memory else ""
        print(f"{name:<44}{audio_s / median:8.0f}{median / best:8.1f}{spread:8.0%}{extra}")


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
        "loop": lambda: [fbank(wave) for wave in waves],
        "batch with lengths": lambda: fbank(padded, lengths),
    }
    _compare(
        f"kaldi fbank80, {len(waves)} utterances", ways, sum(lengths) / RATE, rounds * 5, clock
    )


def _compare(title: str, ways: dict, audio_s: float, rounds: int, clock) -> None:
    """Time functions without arguments in turns, and print RTF and ratio to the first."""
    seconds: dict = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = clock()
            way()
            seconds[name].append(clock() - began)
    print(f"\n{title:<44}{'RTF':>8}{'times':>8}")
    first = statistics.median(seconds[next(iter(ways))])
    for name, all_s in seconds.items():
        median = statistics.median(all_s)
        print(f"{name:<44}{audio_s / median:8.0f}{median / first:8.2f}")


def stored(args, clock, threads: int) -> None:
    """A folder of FLAC to stored features, in as many processes as threads."""
    with tempfile.TemporaryDirectory() as folder:
        files = _flac_files(args.data, Path(folder), 10 if args.quick else 40)
        audio_s = sum(_decode(path) for path in files)
        title = f"{len(files)} FLAC files to stored features, {threads} process(es)"
        peers = [_torchaudio("fbank"), _native("Fbank")] if threads == 1 else []
        jobs = {
            "ours": functools.partial(_store, folder, "ours"),
            "decoding alone": _decode,
            **{row[0]: functools.partial(_store, folder, row) for row in peers if row},
        }
        if threads == 1:
            ways = {name: functools.partial(_each, map, job, files) for name, job in jobs.items()}
            _compare(title, ways, audio_s, args.rounds, clock)
            return
        with ProcessPoolExecutor(threads, initializer=_one_thread) as pool:
            each = functools.partial(pool.map, chunksize=4)
            for job in jobs.values():
                _each(each, job, files)
            ways = {name: functools.partial(_each, each, job, files) for name, job in jobs.items()}
            _compare(title, ways, audio_s, args.rounds * 3, clock)


def _each(mapping, job, files) -> None:
    for _ in mapping(job, files):
        pass


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _decode(path) -> float:
    """Seconds of sound in the file, after decoding all of it."""
    import features

    wave, rate = features.load(path)
    return len(wave) / rate


@functools.cache
def _default():
    return _ours("kaldi_fbank80", {})


def _store(folder: str, row, path: Path) -> None:
    import numpy as np

    import features

    wave, _ = features.load(path)
    method = _default() if row == "ours" else row[1]
    np.save(Path(folder) / f"{path.stem}.npy", method(wave))


def _waves(data: str, wanted: int) -> list:
    """Utterances of 2 to 15 s, real ones where there are."""
    import numpy as np

    import features

    files = [p for p in sorted(Path(data).rglob("*")) if p.suffix in (".flac", ".opus")]
    waves = []
    for path in files[:: max(1, len(files) // (2 * wanted))] if data else []:
        with contextlib.suppress(ValueError):
            wave, _ = features.load(path, RATE)
            if 2 <= len(wave) / RATE <= 15 and len(waves) < wanted:
                waves.append(wave)
    rng = np.random.default_rng(0)
    while len(waves) < wanted:
        waves.append(_voice(rng, rng.uniform(2, 15)))
    return waves


def _voice(rng, duration_s: float):
    """A buzz with moving formants, pauses and noise, float32 on the 16-bit grid."""
    import numpy as np

    t = np.arange(int(duration_s * RATE)) / RATE
    buzz = np.sign(np.sin(2 * np.pi * (120 * t + 6 * np.sin(3 * t)))) * (np.sin(9 * t) > -0.3)
    body = sum(np.sin(2 * np.pi * f * t + 3 * np.sin(5 * t)) for f in (500, 1500, 2500))
    wave = 0.07 * buzz * body + 0.002 * rng.standard_normal(len(t))
    return (np.round(wave * 32768) / 32768).astype(np.float32)


def _long(waves, duration_s: float):
    import numpy as np

    return np.resize(np.concatenate(waves), int(duration_s * RATE))


def _flac_files(data: str, folder: Path, wanted: int) -> list[Path]:
    """FLAC files of the data folder, else made-up ones."""
    import numpy as np
    import soundfile

    files = sorted(Path(data).rglob("*.flac"))[:wanted] if data else []
    rng = np.random.default_rng(1)
    for i in range(0 if files else wanted):
        files.append(folder / f"{i}.flac")
        soundfile.write(files[-1], _voice(rng, rng.uniform(2, 15)), RATE)
    return files


def _peak_mb(before: float | None = None) -> float:
    """Without `before`: forget the peak and give memory in use; with it: the peak above it, MB."""
    try:
        if before is None:
            Path("/proc/self/clear_refs").write_text("5")
        words = Path("/proc/self/status").read_text().split()
    except OSError:
        return float("nan")  # only Linux tells
    name = "VmRSS:" if before is None else "VmHWM:"
    return int(words[words.index(name) + 1]) / 1024 - (before or 0.0)


def _cpu() -> str:
    import torch

    return f"{torch.backends.cpu.get_cpu_capability()}, torch {version('torch')}"


if __name__ == "__main__":
    main()
