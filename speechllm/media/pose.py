"""Poses of a signer: a `.pose` file or a folder of OpenPose's JSON, or a part of one.

    part = {"type": "pose", "pose": "a.pose", "start": 1.5, "duration": 2.0}

T frames of F values (features/pose_frames.py). A pose is as long as it is: what a signer says in
ten seconds is about what a speaker does.
"""

import functools
import os

import torch

from features import pose, pose_frames
from features.pose import Motion
from features.pose_frames import Frames
from speechllm.media import Finding, front_end

USUAL_S = 4.0
USUAL_HZ = 25.0
BLANK_SHARE = 0.5  # of the frames in which nothing is seen, from which on something is wrong


def open(part: dict) -> Motion:
    """Read a part.

    Raises:
        ValueError: the file cannot be read, or is too short for what is wanted.
    """
    path = part["pose"]
    changed = os.stat(path).st_mtime_ns if os.path.isfile(path) else None
    motion = pose.load(path) if changed is None else _loaded(path, changed)
    try:
        return motion.cut(part.get("start") or 0.0, part.get("duration"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@functools.lru_cache(16)
def _loaded(path: str, changed: int) -> Motion:
    """Read a file once, as long as it stays what it is: parts of one may be many."""
    return pose.load(path)


def front(table: dict, where: str) -> Frames:
    """Make the front end of a preset's table.

    Raises:
        ValueError: no such front end, a wrong option; says where it stands.
    """
    return front_end(pose_frames.get, "pose", "pose", table, where)


def frames(part: dict, front: Frames, rng=None, augment=None) -> tuple[torch.Tensor, int]:
    """Give the frames (T, F) of a part, and T; `rng` changes them as the front end allows.

    Raises:
        ValueError: what cannot be read.
    """
    return front(open(part), rng)


def cost(part: dict) -> float:
    """Give the seconds of a part: as it says, else as its file does; 0 if neither does."""
    if part.get("duration") is not None:
        return float(part["duration"])
    try:
        return open(part).duration_s
    except ValueError:
        return 0.0


def usual(front: Frames) -> int:
    """Give the frames of four seconds."""
    return round(USUAL_S * (front.rate_hz or USUAL_HZ))


def faults(part: dict, deep: bool = False) -> list[Finding]:
    """Say whether it can be read; deep: whether anything is seen in it."""
    try:
        motion = open(part)
    except ValueError as error:
        return [(str(error), "mend the file or remove the line", "error")]
    if not motion.seen.any():
        return [(f"{part['pose']}: no joint is ever seen", "remove the line", "error")]
    blank = float((motion.seen == 0).all(1).mean())
    if deep and blank > BLANK_SHARE:
        share = f"{part['pose']}: in {blank:.0%} of its frames nothing is seen"
        return [(share, "look at it", "warning")]
    return []


def key(part: dict) -> tuple:
    """Give what tells one from another: file and times."""
    return part["pose"], part.get("start") or 0.0, part.get("duration")


def nothing(front: Frames) -> tuple[torch.Tensor, int]:
    """Give a second in which no joint is seen."""
    n = round(front.rate_hz or USUAL_HZ)
    return torch.zeros(n, front.dim), n
