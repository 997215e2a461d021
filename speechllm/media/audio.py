"""Sound: a file, or a part of one, of all its channels (their mean) or of one of them.

    part = {"type": "audio", "audio": "a.flac", "start": 1.5, "duration": 2.0, "channel": 1}

What is wrong with a part is a list of findings (message, hint, severity). Where features are stored
nobody needs to read the sound unless the wave is augmented: what is wrong with the sound is a
warning then. N samples, T frames, F values a frame.
"""

import functools
import os

import numpy as np
import torch

import features
from features.stored import Stored, split
from speechllm.media._audio_faults import STALE_S, faults
from speechllm.media._augment import Config as Augment

__all__ = ["Augment", "cost", "faults", "frames", "front", "key", "nothing", "open", "usual"]

USUAL_S = 10.0


def open(part: dict, rate: int | None = None, mono: bool = True) -> np.ndarray:
    """Decode a part: (N,) float32 at `rate` (None: the file's own), or (C, N) with mono=False.

    Raises:
        ValueError: the file cannot be read, or is too short for what is wanted.
    """
    start, duration = part.get("start") or 0.0, part.get("duration")
    return features.load(part["audio"], rate, start, duration, mono, part.get("channel"))[0]


def front(table: dict, where: str) -> features.Extractor:
    """Make the front end of a preset's table.

    Raises:
        ValueError: no such front end, a wrong option; says where it stands.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{where}: wanted a table such as {{ name = 'wave16k' }}, got {table!r}")
    options = dict(table)
    try:
        return features.get(options.pop("name", None), **options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def frames(
    part: dict,
    front: features.Extractor,
    rng: np.random.Generator | None = None,
    augment: Augment | None = None,
) -> tuple[torch.Tensor, int]:
    """Give the frames (T, F) of a part, or its wave (N,), and how many are valid.

    They are stored ones where the part refers to some, unless the wave is to be changed at random.

    Raises:
        ValueError: what cannot be read, or was stored of something else.
    """
    changes = rng is not None and augment is not None and augment.on_waves
    if part.get("features") and not changes:
        return _stored(part, front)
    wave = open(part, front.sampling_rate)
    if changes:
        wave = augment.wave(wave, front.sampling_rate, rng)
    return front(wave)


def cost(part: dict) -> float:
    """Give the seconds of a part: as it says, else as the file's header says; 0 if neither does."""
    if part.get("duration") is not None:
        return float(part["duration"])
    try:
        length = features.info(part["audio"]).duration_s
    except ValueError:
        return 0.0
    return max(length - (part.get("start") or 0.0), 0.0)


def usual(front: features.Extractor) -> int:
    """Give the frames of ten seconds."""
    return front.count(round(USUAL_S * front.sampling_rate))


def key(part: dict) -> tuple:
    """Give what tells one sound from another: file, times and channel."""
    return part["audio"], part.get("start") or 0.0, part.get("duration"), part.get("channel")


def nothing(front: features.Extractor) -> torch.Tensor:
    """Give what the front end makes of digital silence: one frame (F,), or one sample."""
    # a second of it, and its middle: the edges of a front end with context are not like the rest
    x, n = front(torch.zeros(front.sampling_rate))
    return x[n // 2]


def _stored(part: dict, front: features.Extractor) -> tuple[torch.Tensor, int]:
    """Take frames from a stored set; they must be as many as the duration says."""
    folder, id = split(part["features"])
    stored = _opened(folder, _changed(folder), front)
    x, n = stored[id]
    stored.refuse_moved(id, part.get("start") or 0.0, part.get("channel"))
    seconds = part.get("duration")
    # stored frames know nothing of the row: one that was cut since would be heard whole
    wanted = front.count(round(seconds * front.sampling_rate)) if seconds else n
    if abs(n - wanted) > STALE_S * front.frame_rate_hz:
        raise ValueError(
            f"{part['features']}: {n} frames, but {seconds} s give {wanted}; the row was "
            "changed since: extract into a new folder"
        )
    return torch.from_numpy(np.array(x)), n


@functools.lru_cache(64)
def _opened(folder: str, changed: int, front: features.Extractor) -> Stored:
    """Open a stored set once, as long as nothing comes or goes in its folder."""
    return Stored(folder, front)


def _changed(folder: str) -> int:
    """Give the time of the last change of a folder, 0 where there is none."""
    return os.stat(folder).st_mtime_ns if os.path.isdir(folder) else 0
