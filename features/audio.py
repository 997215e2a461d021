"""Sound files to float32 waves: decode (libsndfile, ffmpeg), mix down, resample (soxr).

    wave, rate = load("a.flac", sampling_rate=16000)              # (N,) mono mixdown, in [-1, 1]
    wave, rate = load("a.wav", sampling_rate=None, mono=False)    # (C, N) at the file's own rate
    wave, rate = load("a.wav", channel=1)                         # the second channel
    wave, rate = load("a.opus", start_s=1.5, duration_s=2.0)      # that part only
    wave, rate = load("a.flac", max_duration_s=600)               # refused before it is decoded
    with blocks("a.flac", 16000) as wave:                         # the same samples in flat memory
        for chunk in wave: ...                                    # (n,), wave.n_samples in all

WAV of all widths, FLAC, Ogg, Opus, MP3, AIFF, SPHERE, AU, CAF and their kin; AAC, MP4, WebM, WMA,
AMR where ffmpeg is installed, else the answer is the command that converts them. How long a file is
says `sound`, for `info` and `load` alike; what is cut off is refused. Every failure is a one-line
ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from features.channels import chooser, joined
from features.resampling import Resampler, resample, resampled_length
from features.sound import opened

# a wanted end may lie this far past the file's: times are written with two decimals
OVERSHOOT_S = 0.010


@dataclass(frozen=True)
class Info:
    """What is in a file; `n_samples` is per channel, at the file's own rate."""

    n_samples: int
    sampling_rate: int
    channels: int
    format: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sampling_rate


def info(path) -> Info:
    """Length, rate and channels of a sound file: those of the samples that `load` gives.

    Read from the container; decoded (in flat memory) only where a container cannot know. Raises
    ValueError when there is no such file, it cannot be read as sound, or is cut off.
    """
    with opened(path) as sound:
        if sound.cut:
            raise ValueError(_cut_off(sound, sound.cut))
        n = min(sound.unsure, sound.n_samples)
        for _ in _blocks(sound, sound.n_samples - n, n, np.transpose):
            pass
        return Info(sound.n_samples, sound.sampling_rate, sound.channels, sound.format)


def load(
    path,
    sampling_rate: int | None = 16000,
    start_s: float = 0.0,
    duration_s: float | None = None,
    mono: bool = True,
    channel: int | None = None,
    max_duration_s: float | None = None,
) -> tuple[np.ndarray, int]:
    """Samples of a file, or of `duration_s` seconds of it from `start_s` on, and their rate.

    Returns float32 (N,): the mean of the channels, or the one that is wanted (`channel`, from 0);
    (C, N) with mono=False. `sampling_rate` None keeps the file's. `path` may be a binary file
    object. Raises ValueError (one line: what, where, what to do) when the file is missing, empty,
    corrupt or cut off, holds no samples, NaN or infinity, lacks the channel, or is too short for
    what was wanted; and, before anything is decoded, when that lasts more than `max_duration_s`.
    """
    with opened(path) as sound:
        start, count = _range(sound, start_s, duration_s, max_duration_s)
        pieces = list(_blocks(sound, start, count, chooser(sound, mono, channel)))
        name, rate = sound.name, sound.sampling_rate
    target = sampling_rate or rate
    wave = resample(joined(pieces), rate, target)
    if not wave.shape[1]:
        raise _nothing_left(name, count, target)
    return (wave[0] if mono or channel is not None else wave), target


class Blocks:
    """A wave that is read on: iterate for its samples, (n,) or (C, n) at a time."""

    def __init__(self, pieces: Iterator[np.ndarray], n_samples: int, sampling_rate: int, one: bool):
        self.n_samples, self.sampling_rate = n_samples, sampling_rate
        self._pieces, self._one = pieces, one

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self._pieces:
            yield piece[0] if self._one else piece

    def all(self) -> np.ndarray:
        """What is left of it, as one wave."""
        wave = joined(list(self._pieces))
        return wave[0] if self._one else wave


@contextmanager
def blocks(
    path,
    sampling_rate: int | None = 16000,
    start_s: float = 0.0,
    duration_s: float | None = None,
    mono: bool = True,
    channel: int | None = None,
) -> Iterator[Blocks]:
    """The samples that `load` gives, some at a time: memory does not grow with the file.

    Raises ValueError as `load` does, some of it only when the samples are asked for.
    """
    with opened(path) as sound:
        start, count = _range(sound, start_s, duration_s, None)
        pieces = _blocks(sound, start, count, chooser(sound, mono, channel))
        rate = sound.sampling_rate
        target = sampling_rate or rate
        n = resampled_length(count, rate, target) if target > 0 else 0
        if not n:
            resample(np.zeros((1, 0)), rate, target)  # a rate that is none is said so
            raise _nothing_left(sound.name, count, target)
        if target != rate:
            pieces = _resampled(pieces, rate, target)
        yield Blocks(pieces, n, target, mono or channel is not None)


def _resampled(pieces, rate: int, target: int) -> Iterator[np.ndarray]:
    resampler = None
    for piece in pieces:
        resampler = resampler or Resampler(rate, target, len(piece))
        yield resampler(piece)
    yield resampler.flush()


def _nothing_left(name: str, count: int, target: int) -> ValueError:
    return ValueError(
        f"{name}: no sample is left of {count} at {target} Hz; remove it from the list"
    )


def _range(
    sound, start_s: float, duration_s: float | None, max_duration_s: float | None
) -> tuple[int, int]:
    """First sample and number of samples wanted, checked against what is there."""
    name, rate, total = sound.name, sound.sampling_rate, sound.n_samples
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
    count = total - start if duration_s is None else max(1, round(duration_s * rate))
    if start + count > total + max(1, round(OVERSHOOT_S * rate)):
        raise ValueError(
            f"{name}: wanted {start_s:g} to {start_s + duration_s:g} s, {has}; correct the duration"
        )
    count = min(count, total - start)
    if max_duration_s is not None and not count <= max_duration_s * rate:
        raise ValueError(
            f"{name}: lasts {count / rate:.3f} s, wanted at most {max_duration_s:g} s "
            "(max_duration_s); take parts of it (start, duration), or allow more"
        )
    return start, count


def _blocks(sound, start: int, count: int, choose) -> Iterator[np.ndarray]:
    """Samples (C or 1, n) in blocks, `count` in all."""
    got, rate = 0, sound.sampling_rate
    integers = "/PCM_" in sound.format  # which are all numbers
    if start + count >= sound.n_samples and sound.cut:
        raise ValueError(_cut_off(sound, sound.cut))
    try:
        for block in sound.blocks(start, count):
            wave = choose(block)
            if not integers:
                _refuse_no_numbers(sound.name, wave, start + got)
            got += len(block)
            yield wave
    except ValueError as error:
        raise error if sound.name in str(error) else ValueError(_cut_off(sound, error)) from None
    if got < count:
        raise ValueError(_cut_off(sound, f"it ends at {(start + got) / rate:.3f} s"))


def _refuse_no_numbers(name: str, wave: np.ndarray, start: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(wave.sum()):  # finite exactly when every sample is, but for huge ones
            return
    bad = np.flatnonzero(~np.isfinite(wave).all(axis=0))
    what = (
        f"NaN or infinity at sample {bad[0] + start}"
        if len(bad)
        else f"samples up to {np.abs(wave).max():.1e}, where 1 is full scale"
    )
    raise ValueError(f"{name}: {what}; it is damaged, record it anew")


def _cut_off(sound, reason) -> str:
    name = sound.name
    length = f"{sound.n_samples / sound.sampling_rate:.3f} s by its header"
    return (
        f"{name}: damaged or cut off ({reason}; {length}); fetch it again, "
        f"or keep the good part: ffmpeg -i '{name}' '{Path(name).with_suffix('.repaired.wav')}'"
    )
