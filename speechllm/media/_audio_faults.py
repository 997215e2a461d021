"""What is wrong with a sound: its times, its samples, the features that are stored of it.

Where features are stored nobody needs to read the sound unless the wave is augmented: what is wrong
with the sound is a warning then.
"""

import functools
import math
import os
from collections.abc import Iterator

import numpy as np

import features
from features import presets
from features.stored import Stored, split
from speechllm.media import Finding

OVERSHOOT_S = 0.01  # as the loader allows: times are written with two or three decimals
SHORTFALL_S = 0.1  # by which a whole file may be longer than its 'duration'
STALE_S = 0.05  # by which stored features may differ from 'duration': it has two decimals
SILENCE_DB = -60.0  # RMS below full scale, under which nobody hears a voice
LONG_S = 600.0  # up to which stored features are computed again
OTHER_SHARE = 0.05  # of their deviation, by which those of the same sound never differ
NOTHING_DB = -180.0  # digital zero, as a number
CANCELLED_DB = 20.0  # by which a mean of channels is weaker than that of unlike ones would be
CLIPPED_SHARE = 0.001  # of the samples at full scale; loud but sound recordings have far fewer


def faults(part: dict, deep: bool = False) -> list[Finding]:
    """List what is wrong with a part: times against the header, stored features against their set.

    deep: also decodes it, looks at the samples, and at all stored values.
    """
    findings = [*_header_findings(part)]
    if deep and not findings:
        findings += _wave_findings(part)
    if not part.get("features"):
        return findings
    weaker = [(message, hint, "warning") for message, hint, _ in findings]
    return [*_feature_findings(part, deep), *weaker]


def _feature_findings(part: dict, deep: bool) -> Iterator[Finding]:
    folder, id = split(part["features"])
    seconds = part.get("duration")
    try:
        stored, options = _set(folder, deep)
        n = stored.valid(id)
        size = os.path.getsize(part["audio"]) if os.path.isfile(part["audio"]) else 0
        stored.refuse_moved(id, part.get("start") or 0.0, part.get("channel"), size)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    wanted = options.count(round((seconds or 0.0) * options.sampling_rate))
    if seconds and abs(n - wanted) > STALE_S * options.frame_rate_hz:
        hint = "the row was changed since: extract into a new folder"
        yield f"{part['features']}: {n} frames, but {seconds} s give {wanted}", hint, "error"
    elif deep and not np.isfinite(stored[id][0]).all():
        yield f"{part['features']} holds NaN or infinity", "extract into a new folder", "error"
    elif deep and _is_of_other_sound(part, stored, id):
        hint = "the file was changed since: extract into a new folder"
        yield f"{part['features']} is not of {part['audio']}", hint, "error"


def _is_of_other_sound(part: dict, stored: Stored, id: str) -> bool:
    """Compute the features once more; not where they are random, or long, or the sound is gone."""
    if stored.of_states:  # which want the encoder
        return False
    front = features.get(stored.preset, **stored.options)
    rows, n = stored[id]
    if stored.options.get("dither") or n > LONG_S * front.frame_rate_hz:
        return False
    start, duration, channel = part.get("start") or 0.0, part.get("duration"), part.get("channel")
    try:
        wave, _ = features.load(
            part["audio"], front.sampling_rate, start, duration, channel=channel
        )
    except ValueError:  # which other findings say, or nobody needs
        return False
    x = np.asarray(front(wave)[0])[:n]
    size = min(len(x), n)
    difference = np.abs(x[:size] - rows[:size]).mean()
    return bool(difference > OTHER_SHARE * (rows[:size].std() + 1e-3))


def _set(folder: str, deep: bool) -> tuple[Stored, object]:
    """A stored set, its checksums compared if `deep`, and the options that made it."""
    stored = _opened(folder, deep)
    if isinstance(stored, ValueError):
        raise stored
    return stored


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


def _header_findings(part: dict) -> Iterator[Finding]:
    path, start_s, duration = part["audio"], part.get("start"), part.get("duration")
    try:
        info = features.info(path)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    length, start, channel = info.duration_s, start_s or 0.0, part.get("channel") or 0
    if channel >= info.channels:
        hint = f"it counts from 0: write 0 to {info.channels - 1}, or leave it out"
        yield f"'channel' is {channel}, but {path} has {info.channels}", hint, "error"
    elif not info.n_samples:
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


def _wave_findings(part: dict) -> Iterator[Finding]:
    try:
        powers, heard, clipped = _levels(part)
    except ValueError as error:
        yield (*_split(error), "error")
        return
    # The mean of C waves that have nothing to do with each other has C times less power than theirs
    unlike_db = _db(powers.mean() / len(powers))
    heard_db, loudest_db = _db(heard), _db(powers.max())
    if loudest_db < SILENCE_DB:
        level = f"{loudest_db:.0f} dB" if powers.any() else "digital zero"
        yield f"silence ({level})", "was the microphone on? Listen, or remove the line", "warning"
    elif heard_db < unlike_db - CANCELLED_DB:
        level = f"{heard_db:.0f} dB" if heard_db > NOTHING_DB else "digital zero"
        yield (
            f"the {len(powers)} channels cancel each other: their mean, which is heard, has "
            f"{level}, one alone {loudest_db:.0f} dB",
            "write 'channel': 0 into the row to hear one of them",
            "warning",
        )
    if clipped > CLIPPED_SHARE:
        yield f"{clipped:.1%} of the samples are clipped", "record it at a lower level", "warning"


def _levels(part: dict) -> tuple[np.ndarray, float, float]:
    """Power of each channel and of their mean, and the share of clipped samples; in flat memory.

    Raises:
        ValueError: it cannot be read.
    """
    powers, heard, clipped = 0.0, 0.0, 0
    blocks = features.blocks(
        part["audio"],
        sampling_rate=None,  # its own
        start_s=part.get("start") or 0.0,
        duration_s=part.get("duration"),
        mono=False,
        channel=part.get("channel"),
    )
    with blocks as wave:
        for block in wave:
            block = np.atleast_2d(block).astype(np.float64)
            powers += np.square(block).sum(1)
            heard += np.square(block.mean(0)).sum()
            clipped += np.count_nonzero(np.abs(block) >= 32767 / 32768) / len(block)
        n = wave.n_samples
    return powers / n, heard / n, clipped / n


def _db(power: float) -> float:
    """Level of a power below full scale."""
    return max(10 * math.log10(power), NOTHING_DB) if power else NOTHING_DB


def _split(error: ValueError) -> tuple[str, str]:
    """Message and hint of an error."""
    what, _, hint = str(error).partition("; ")
    return what, hint or "remove the line"
