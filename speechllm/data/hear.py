"""What is wrong with the media of a manifest's row: times, samples, stored features.

    found = listen([Wanted("a.flac", start_s=1.5, duration_s=2.0)])     # against the header
    found = listen_deep([...])                                            # and every sample

A finding is (message, hint, severity). Of a row with stored features nobody needs to read the
sound unless the wave is augmented: what is wrong with it is a warning then.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import features
from features import presets
from features.stored import Stored

OVERSHOOT_S = 0.01  # as the loader allows: times are written with two or three decimals
SHORTFALL_S = 0.1  # by which a whole file may be longer than its 'duration'
STALE_S = 0.05  # by which stored features may differ from 'duration', as in training
SILENCE_DB = -60.0  # RMS below full scale, under which nobody hears a voice
CLIPPED_SHARE = 0.001  # of the samples at full scale; loud but sound recordings have far fewer

# (message, hint, severity)
Finding = tuple[str, str, str]


@dataclass(frozen=True)
class Wanted:
    """What to hear: a file or a part of one, and features FOLDER#ID that stand for it."""

    path: str
    start_s: float | None = None
    duration_s: float | None = None
    features: str | None = None


def listen(wanted: list[Wanted]) -> list[Finding]:
    """Check times against headers, references against the sets they name."""
    return [finding for one in wanted for finding in _findings(one, deep=False)]


def listen_deep(wanted: list[Wanted]) -> list[Finding]:
    """Decode what is wanted and look at the samples, and at all stored values."""
    return [finding for one in wanted for finding in _findings(one, deep=True)]


def _findings(one: Wanted, deep: bool) -> Iterator[Finding]:
    if one.features:
        yield from _feature_findings(one, deep)
    heard = list(_header_findings(one))
    heard += list(_wave_findings(one)) if deep and not heard else []
    for message, hint, severity in heard:
        yield message, hint, "warning" if one.features else severity


def _feature_findings(one: Wanted, deep: bool) -> Iterator[Finding]:
    folder, _, id = one.features.partition("#")
    try:
        stored, options = _set(folder, deep)
        n = stored.valid(id)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    wanted = options.count(round((one.duration_s or 0.0) * options.sampling_rate))
    if one.duration_s and abs(n - wanted) > STALE_S * options.frame_rate_hz:
        hint = "the row was changed since: extract into a new folder"
        yield f"{one.features}: {n} frames, but {one.duration_s} s give {wanted}", hint, "error"
    elif deep and not np.isfinite(stored[id][0]).all():
        yield f"{one.features} holds NaN or infinity", "extract into a new folder", "error"


def _set(folder: str, deep: bool) -> tuple[Stored, object]:
    """A stored set, its checksums compared if `deep`, and the options that made it."""
    found = _opened(folder, deep)
    if isinstance(found, ValueError):
        raise found
    return found


@functools.lru_cache(64)
def _opened(folder: str, deep: bool) -> tuple[Stored, object] | ValueError:
    """What `_set` gives or raises: a set that is damaged is read once, too."""
    try:
        stored = Stored(folder)
        if deep:
            stored.verify()
        return stored, presets.options(stored.preset, **stored.options)
    except ValueError as error:
        return error


def _header_findings(one: Wanted) -> Iterator[Finding]:
    path, start_s, duration = one.path, one.start_s, one.duration_s
    try:
        info = features.info(path)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    length, start = info.duration_s, start_s or 0.0
    if not info.n_samples:
        yield f"{path} holds no samples", "remove the line, or fetch the file again", "error"
    elif start >= length:
        hint = "is it in seconds, and of this file?"
        yield f"'start' is {start} s, but {path} has {length:.3f} s", hint, "error"
    elif duration is not None and start + duration > length + OVERSHOOT_S:
        hint = "shorten 'duration', or fetch the file again if it was cut off"
        yield f"ends at {start + duration:.3f} s, but {path} has {length:.3f} s", hint, "error"
    elif start_s is None and duration is not None and duration < length - SHORTFALL_S:
        hint = "write 'start' too, if only that part is meant"
        yield f"'duration' is {duration} s, but {path} has {length:.3f} s", hint, "warning"


def _wave_findings(one: Wanted) -> Iterator[Finding]:
    try:
        wave, _ = features.load(one.path, None, one.start_s or 0.0, one.duration_s, mono=False)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    rms = math.sqrt(float(np.mean(np.square(wave, dtype=np.float64))))
    if 20 * math.log10(max(rms, 1e-9)) < SILENCE_DB:
        level = f"{20 * math.log10(rms):.0f} dB" if rms else "digital zero"
        yield f"silence ({level})", "was the microphone on? Listen, or remove the line", "warning"
    clipped = float(np.mean(np.abs(wave) >= 32767 / 32768))
    if clipped > CLIPPED_SHARE:
        yield f"{clipped:.1%} of the samples are clipped", "record it at a lower level", "warning"


def _split(error: ValueError) -> tuple[str, str]:
    """Message and hint of an error."""
    what, _, hint = str(error).partition("; ")
    return what, hint or "remove the line"
