"""Sound files to float32 waves: decode (libsndfile), mix down, resample (soxr).

    wave, rate = load("a.flac", sampling_rate=16000)              # (N,) mono mixdown, in [-1, 1]
    wave, rate = load("a.wav", sampling_rate=None, mono=False)    # (C, N) at the file's own rate
    wave, rate = load("a.wav", channel=1)                         # the second channel
    wave, rate = load("a.opus", start_s=1.5, duration_s=2.0)      # that part only, found by seeking

WAV of all widths, FLAC, Ogg, Opus, MP3, AIFF, SPHERE, AU, CAF and their kin. What libsndfile does
not read (AAC, MP4, WebM, raw, packed SPHERE) is answered with the command that converts it, what is
cut off is refused (`containers`). Every failure is a one-line ValueError.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from features import containers
from features.resampling import resample

# values decoded at a time: a header that lies cannot make us allocate what it claims
BLOCK = 1 << 22
# a wanted end may lie this far past the file's: times are written with two decimals
OVERSHOOT_S = 0.010
# an MP3 header counts the encoder's padding; that many samples may be missing
MP3_SLACK = 3 * 1152


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
    channel: int | None = None,
) -> tuple[np.ndarray, int]:
    """Samples of a file, or of `duration_s` seconds of it from `start_s` on, and their rate.

    Returns float32 (N,): the mean of the channels, or the one that is wanted (`channel`, from 0);
    (C, N) with mono=False. `sampling_rate` None keeps the file's. `path` may be a binary file
    object. Raises ValueError (one line: what, where, what to do) when the file is missing, empty,
    corrupt or cut off, holds no samples, NaN or infinity, lacks the channel, or is too short for
    what was wanted.
    """
    with _open(path) as file:
        start, count = _range(path, file, start_s, duration_s)
        wave = _read(path, file, start, count, _chooser(path, file, mono, channel))
        rate = file.samplerate
    _refuse_no_numbers(path, wave, start)
    target = sampling_rate or rate
    wave = resample(wave, rate, target)
    if not wave.shape[1]:
        raise ValueError(
            f"{_name(path)}: no sample is left of {count} at {target} Hz; remove it from the list"
        )
    return (wave[0] if mono or channel is not None else wave), target


def _open(path) -> soundfile.SoundFile:
    """The opened file; says what is wrong with it otherwise."""
    if not isinstance(path, (str, os.PathLike)) and not hasattr(path, "read"):
        raise ValueError(
            f"wanted the path of a sound file or an opened one, got {type(path).__name__}; "
            "samples need no loading (features.draw makes a picture of them)"
        )
    name = _name(path)
    if isinstance(path, (str, os.PathLike)):
        _refuse_absent(Path(path), name)
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        reason = str(error).split(": ", 1)[-1].strip().rstrip(".")
        raise ValueError(
            f"{name}: libsndfile cannot read it ({reason}); {containers.advice(path, name)}"
        ) from None
    try:
        containers.refuse_strange(name, file)
    except ValueError:
        file.close()
        raise
    return file


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
    if path.suffix.lower() in containers.RAW:
        raise ValueError(
            f"{name}: raw samples say neither rate nor width; "
            f"convert: ffmpeg -f s16le -ar 16000 -ac 1 -i '{name}' '{path.with_suffix('.wav')}'"
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


def _chooser(path, file, mono: bool, channel: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """What makes (1 or C, N) of a decoded block (N, C)."""
    if channel is None:
        return _mix if mono else np.transpose
    if not 0 <= channel < file.channels:
        raise ValueError(
            f"{_name(path)}: wanted channel {channel}, it has {file.channels} (the first is 0); "
            "give one that it has"
        )
    return lambda block: block[:, channel].reshape(1, -1).copy()


def _read(path, file, start: int, count: int, choose) -> np.ndarray:
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
            blocks.append(choose(block))
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).split(": ", 1)[-1].strip().rstrip(".")
        raise ValueError(_cut_off(path, file, reason)) from None
    to_the_end = start + count >= file.frames
    slack = MP3_SLACK if file.format == "MP3" and to_the_end else 0
    if got < count - slack or not got:
        rate = file.samplerate
        raise ValueError(_cut_off(path, file, f"it ends at {(start + got) / rate:.3f} s"))
    if to_the_end and (gap := containers.missing(path, file)):
        raise ValueError(_cut_off(path, file, gap))
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


def _refuse_no_numbers(path, wave: np.ndarray, start: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(wave.sum()):  # finite exactly when every sample is, but for huge ones
            return
    bad = np.flatnonzero(~np.isfinite(wave).all(axis=0))
    what = (
        f"NaN or infinity at sample {bad[0] + start}"
        if len(bad)
        else f"samples up to {np.abs(wave).max():.1e}, where 1 is full scale"
    )
    raise ValueError(f"{_name(path)}: {what}; it is damaged, record it anew")


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
