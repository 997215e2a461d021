"""Sound: a file, or a part of one, of all its channels (their mean) or of one of them.

    part = {"type": "audio", "audio": "a.flac", "start": 1.5, "duration": 2.0, "channel": 1}

What is wrong with a part is a list of findings (message, hint, severity). Where features are stored
nobody needs to read the sound unless the wave is augmented: what is wrong with the sound is a
warning then. What is stored may also be the states of an encoder, which then has nothing to do.
N samples, T frames, F values a frame, L states, D values a state.
"""

import functools
import json
import os
from pathlib import Path

import numpy as np
import torch

import features
from features.indexes import about
from features.stored import Stored, split
from speechllm.media import front_end
from speechllm.media._audio_faults import STALE_S, faults
from speechllm.media._augment import Config as Augment

__all__ = ["Augment", "cost", "faults", "frames", "front", "key", "nothing", "open", "usual"]
__all__ += ["encoded", "states"]

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
    return front_end(features.get, None, "wave16k", table, where)


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


def encoded(part: dict) -> bool:
    """Say whether a part refers to stored states of an encoder."""
    return bool(part.get("features")) and _of_states(*_place(part["features"])[:2])


def states(part: dict, front: features.Extractor, of: dict) -> tuple[torch.Tensor, int]:
    """Give the stored states (L, D) of a part, and how many frames they were made of.

    of: the encoder of which they must be: its "encoder" (settings) and "weights" (a digest, left
    out where nobody knows it yet).

    Raises:
        ValueError: they are of another encoder, front end or part of the file.
    """
    return _stored(part, front, of)


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


def nothing(front: features.Extractor) -> tuple[torch.Tensor, int]:
    """Give what the front end makes of a second of digital silence, (T, F) or (N,), and n."""
    return front(torch.zeros(front.sampling_rate))


def _stored(
    part: dict, front: features.Extractor, of: dict | None = None
) -> tuple[torch.Tensor, int]:
    """Take frames, or states, from a stored set; of as many frames as the duration says."""
    folder, changed, id = _place(part["features"])
    stored = _opened(folder, changed, front, json.dumps(of))
    x, n = stored[id]
    stored.refuse_moved(id, part.get("start") or 0.0, part.get("channel"))
    seconds = part.get("duration")
    # stored frames know nothing of the row: one that was cut since would be heard whole
    wanted = front.count(round(seconds * front.sampling_rate)) if seconds else n
    if abs(n - wanted) > STALE_S * front.frame_rate_hz:
        raise ValueError(
            f"{part['features']}: {n} frames, but {seconds} s give {wanted}; the row was "
            f"changed since: {'store' if stored.of_states else 'extract'} into a new folder"
        )
    return torch.from_numpy(np.array(x)), n


def _place(reference: str) -> tuple[str, int, str]:
    """Take a reference apart: folder, the time of its last change (0: it is not there), id."""
    folder, id = split(reference)
    return folder, os.stat(folder).st_mtime_ns if os.path.isdir(folder) else 0, id


@functools.lru_cache(64)
def _opened(folder: str, changed: int, front: features.Extractor, of: str) -> Stored:
    """Open a stored set once, as long as nothing comes or goes in its folder."""
    return Stored(folder, front, json.loads(of))


@functools.lru_cache(64)
def _of_states(folder: str, changed: int) -> bool:
    """Say whether a set holds states; what is no set will be refused by who opens it."""
    return Path(folder, "preset.json").is_file() and "states" in about(Path(folder))
