"""Sound files to float32 waves: decode (libsndfile), mix down, resample (soxr).

    wave, rate = load("a.flac", sampling_rate=16000)              # (N,) mono mixdown, in [-1, 1]
    wave, rate = load("a.wav", sampling_rate=None, mono=False)    # (C, N) at the file's own rate
    wave, rate = load("a.opus", start_s=1.5, duration_s=2.0)      # that part only, found by seeking

WAV of all widths, FLAC, Ogg, Opus, MP3, AIFF, SPHERE and what else libsndfile reads. What it does
not (AAC, MP4, WebM, raw) is answered with the ffmpeg command that converts it. Every failure is a
one-line ValueError.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from features.resampling import resample

BLOCK = (
    1 << 22
)  # values decoded at a time: a header that lies cannot make us allocate what it claims
OVERSHOOT_S = (
    0.010  # a wanted end may lie this far past the file's: times are written with two decimals
)
MP3_SLACK = 3 * 1152  # an MP3 header counts the encoder's padding; that many samples may be missing
FOREIGN = {
    ".aac",
    ".m4a",
    ".mp4",
    ".m4v",
    ".mov",
    ".webm",
    ".mkv",
    ".wma",
    ".amr",
    ".3gp",
    ".ac3",
    ".avi",
}
RAW = {".raw", ".pcm"}


@dataclass(frozen=True)
class Info:
    """What a file's header says; `n_samples` is per channel, at the file's own rate."""

    n_samples: int
    sampling_rate: int
    channels: int
    format: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sampling_rate


def info(path) -> Info:
    """Length, rate and channels of a sound file, from its header alone.

    Raises ValueError when there is no such file or it cannot be read as sound.
    """
    with _open(path) as file:
        return Info(file.frames, file.samplerate, file.channels, f"{file.format}/{file.subtype}")


def load(
    path,
    sampling_rate: int | None = 16000,
    start_s: float = 0.0,
    duration_s: float | None = None,
    mono: bool = True,
) -> tuple[np.ndarray, int]:
    """Samples of a file, or of `duration_s` seconds of it from `start_s` on, and their rate.

    Returns float32 (N,), the mean of the channels, or (C, N) with mono=False. `sampling_rate` None
    keeps the file's. `path` may be a binary file object. Raises ValueError (one line: what, where,
    what to do) when the file is missing, empty, corrupt or cut off, holds no samples, NaN or
    infinity, or is too short for what was wanted.
    """
    with _open(path) as file:
        start, count = _range(path, file, start_s, duration_s)
        wave = _read(path, file, start, count, mono)
        rate = file.samplerate
    if not np.isfinite(wave.sum()):
        bad = int(np.flatnonzero(~np.isfinite(wave).all(axis=0))[0]) + start
        raise ValueError(
            f"{_name(path)}: NaN or infinity at sample {bad}; it is damaged, record it anew"
        )
    target = sampling_rate or rate
    wave = resample(wave, rate, target)
    if not wave.shape[1]:
        raise ValueError(
            f"{_name(path)}: no sample is left of {count} at {target} Hz; remove it from the list"
        )
    return (wave[0] if mono else wave), target


def _open(path) -> soundfile.SoundFile:
    """The opened file; says what is wrong with it otherwise."""
    name = _name(path)
    if isinstance(path, (str, os.PathLike)):
        _refuse_absent(Path(path), name)
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = str(error).split(": ", 1)[-1].strip().rstrip(".")
        raise ValueError(
            f"{name}: libsndfile cannot read it ({reason}); {_advice(path, name)}"
        ) from None


def _refuse_absent(path: Path, name: str) -> None:
    if path.is_dir():
        raise ValueError(f"{name}: is a folder; wanted a sound file, give one that is in it")
    if not path.exists():
        raise ValueError(
            f"{name}: no such file; check the path (relative ones start at {Path.cwd()})"
        )
    if not os.access(path, os.R_OK):
        raise ValueError(f"{name}: may not be read; change its permissions")
    if path.stat().st_size == 0:
        raise ValueError(f"{name}: is empty (0 bytes); fetch it again or remove it from the list")
    if path.suffix.lower() in RAW:
        raise ValueError(
            f"{name}: raw samples say neither rate nor width; "
            f"convert: ffmpeg -f s16le -ar 16000 -ac 1 -i '{name}' '{path.with_suffix('.wav')}'"
        )


def _advice(path, name: str) -> str:
    """What to do with a file that libsndfile does not open."""
    suffix = Path(name).suffix.lower()
    if suffix in FOREIGN or _is_foreign(path):
        return f"convert: ffmpeg -i '{name}' -vn '{Path(name).with_suffix('.converted.wav')}'"
    return "it is damaged or no sound file: fetch it again, or remove it from the list"


def _is_foreign(path) -> bool:
    """MP4, WebM or ADTS by the first bytes, whatever the name says."""
    if not isinstance(path, (str, os.PathLike)):
        return False
    with open(path, "rb") as file:
        head = file.read(12)
    return (
        head[4:8] == b"ftyp"
        or head[:4] == b"\x1a\x45\xdf\xa3"
        or head[:2] in (b"\xff\xf1", b"\xff\xf9")
    )


def _range(path, file, start_s: float, duration_s: float | None) -> tuple[int, int]:
    """First sample and number of samples wanted, checked against the header."""
    name, rate, total = _name(path), file.samplerate, file.frames
    has = f"it has {total / rate:.3f} s ({total} samples at {rate} Hz)"
    if total <= 0:
        raise ValueError(f"{name}: holds no samples; remove it from the list")
    if not (math.isfinite(start_s) and start_s >= 0):
        raise ValueError(f"{name}: wanted a start at {start_s} s; it must be a number from 0 on")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise ValueError(
            f"{name}: wanted a duration of {duration_s} s; it must be a number above 0"
        )
    start = round(start_s * rate)
    if start >= total:
        raise ValueError(f"{name}: wanted a start at {start_s:g} s, {has}; correct the start")
    if duration_s is None:
        return start, total - start
    count = max(1, round(duration_s * rate))
    if start + count > total + max(1, round(OVERSHOOT_S * rate)):
        raise ValueError(
            f"{name}: wanted {start_s:g} to {start_s + duration_s:g} s, {has}; correct the duration"
        )
    return start, min(count, total - start)


def _read(path, file, start: int, count: int, mono: bool) -> np.ndarray:
    """Samples (C or 1, count), decoded in blocks."""
    blocks, got = [], 0
    try:
        if start:
            file.seek(start)
        while got < count:
            want = min(count - got, max(1, BLOCK // file.channels))
            block = file.read(want, dtype="float32", always_2d=True)
            if not len(block):
                break
            got += len(block)
            blocks.append(_mix(block) if mono else block.T)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).split(": ", 1)[-1].strip().rstrip(".")
        raise ValueError(_cut_off(path, file, reason)) from None
    to_the_end = start + count >= file.frames
    slack = MP3_SLACK if file.format == "MP3" and to_the_end else 0
    if got < count - slack or not got:
        rate = file.samplerate
        raise ValueError(_cut_off(path, file, f"it ends at {(start + got) / rate:.3f} s"))
    if to_the_end and _promised(file.extra_info):
        raise ValueError(_cut_off(path, file, _promised(file.extra_info)))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def _mix(block: np.ndarray) -> np.ndarray:
    """(N, C) to its mean (1, N); adding columns is ten times faster than mean(axis=1)."""
    channels = block.shape[1]
    if channels == 1:
        return block.reshape(1, -1)
    total = block[:, 0].copy()
    for c in range(1, channels):
        total += block[:, c]
    return (total / np.float32(channels)).reshape(1, -1)


def _promised(log: str) -> str:
    """What libsndfile logged of a header (WAV, AIFF) that promises too much; "" if it does not."""
    for line in log.splitlines():
        words = line.replace("(", " ").replace(")", " ").split()
        if words[:1] in (["data"], ["SSND"]) and "should" in words:
            promised, there = int(words[2]), int(words[-1])
            if (
                there < promised < 0x7FFFFFFF - 4096
            ):  # a stream's header holds a huge length: nobody knew it
                return f"its header promises {promised} bytes of samples, {there} are there"
    return ""


def _cut_off(path, file, reason: str) -> str:
    name, length_s = _name(path), file.frames / file.samplerate
    return (
        f"{name}: damaged or cut off ({reason}; {length_s:.3f} s by its header); fetch it again, "
        f"or keep the good part: ffmpeg -i '{name}' '{Path(name).with_suffix('.repaired.wav')}'"
    )


def _name(path) -> str:
    return (
        str(path) if isinstance(path, (str, os.PathLike)) else str(getattr(path, "name", "<bytes>"))
    )
