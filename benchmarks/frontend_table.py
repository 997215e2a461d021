"""Tables of `frontend.py`: medians, how many times as long as ours, targets, whether met."""

import statistics
from pathlib import Path

TARGETS = (  # (words of the title, of the row, least `times`), the first that fits; MB for ours
    ("", "asrfront", 1.5),
    ("kaldi utterances", "torchaudio", 3.0),
    ("kaldi utterances", "kaldi-native-fbank", 9.0),
    ("kaldi one", "torchaudio", 7.0),
    ("kaldi one", "kaldi-native-fbank", 10.0),
    ("whisper80", "torch core", 2.0),
    ("whisper80", "public call", 10.0),
    ("librosa", "librosa", 3.0),
    ("chunks", "kaldi-native-fbank", 4.0),
    ("batch", "loop", 0.95),  # not slower; a twentieth is what repeated runs differ by
    ("FLAC", "torchaudio", 1.6),
    ("FLAC", "kaldi-native-fbank", 4.0),
    ("FLAC 2-process", "decoding alone", 0.9),
    ("GPU", "torchaudio", 3.0),
)
MOST_MB = 60.0


def show(title: str, seconds: dict, audio_s: float, memory: dict) -> None:
    """Print the table of rows (name: seconds of each round); `memory` in MB may be empty."""
    heads = ("RTFx", "times", "spread", "MB" if memory else "", "target", "met")
    print(f"\n{title:<44}" + "".join(f"{head:>8}" for head in heads))
    first = statistics.median(next(iter(seconds.values())))
    for name, all_s in seconds.items():
        median = statistics.median(all_s)
        times, spread = median / first, (max(all_s) - min(all_s)) / median
        extra = f"{memory[name]:.0f}" if memory else ""
        target, met = "", ""
        if name == "ours" and memory:
            target, met = f"{MOST_MB:.0f} MB", _word(memory[name] <= MOST_MB)
        if least := _target(title, name):
            target, met = f"{least:g}", _word(times >= least)
        cells = f"{audio_s / median:8.0f}{times:8.2f}{spread:8.0%}{extra:>8}{target:>8}{met:>8}"
        print(f"{name:<44}{cells}")


def compare(title: str, ways: dict, audio_s: float, rounds: int, clock) -> None:
    """Time functions without arguments in turns, and print the table."""
    seconds: dict = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = clock()
            way()
            seconds[name].append(clock() - began)
    show(title, seconds, audio_s, {})


def _target(title: str, name: str) -> float | None:
    """Least `times` of a row, None where none is asked for."""
    for words, row, least in TARGETS:
        if row in name and "ours" not in name and all(word in title for word in words.split()):
            return least
    return None


def _word(met: bool) -> str:
    return "yes" if met else "NO"


def memory_mb(name: str) -> float:
    """Memory in use (VmRSS, which also forgets the peak), or the peak since (VmHWM)."""
    try:
        if name == "VmRSS":
            Path("/proc/self/clear_refs").write_text("5", "utf-8")
        words = Path("/proc/self/status").read_text("utf-8").split()
    except OSError:
        return float("nan")  # only Linux tells
    return int(words[words.index(f"{name}:") + 1]) / 1024
