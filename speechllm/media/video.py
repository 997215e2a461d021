"""Videos: a file, a folder of frames or an animation, or a part of one; what is heard is left out.

    part = {"type": "video", "video": "a.mp4", "start": 1.5, "duration": 2.0}

N patches of F values, frame by frame (features/video_frames.py).
"""

import numpy as np
import torch

from features import video, video_frames
from features.patches import PLACE
from features.video_frames import Clip
from speechllm.media import Finding, front_end

TIMELESS = True  # how much there is to say of it does not follow from its length
USUAL = (480, 640, 3)  # height, width, colours of an ordinary one


def open(part: dict, most: int = 64) -> list[np.ndarray]:
    """Decode up to `most` frames of a part: (height, width, 3) uint8 each.

    Raises:
        ValueError: no video, a damaged one, or no frame lies there.
    """
    return video.load(part["video"], most, part.get("start") or 0.0, part.get("duration"))


def front(table: dict, where: str) -> Clip:
    """Make the front end of a preset's table.

    Raises:
        ValueError: no such front end, a wrong option; says where it stands.
    """
    return front_end(video_frames.get, "patches", "clip", table, where)


def frames(part: dict, front: Clip, rng=None, augment=None) -> tuple[torch.Tensor, int]:
    """Cut a part into patches (N, F), N; `rng` changes it as the front end allows.

    Raises:
        ValueError: what cannot be read.
    """
    return front(open(part, front.most), rng)


def cost(part: dict) -> float:
    """Give the seconds of a part: as it says, else as its file does; 0 if neither does."""
    if part.get("duration") is not None:
        return float(part["duration"])
    try:
        whole = video.info(part["video"])
    except ValueError:
        return 0.0
    return max(whole.duration_s - (part.get("start") or 0.0), 0.0)


def usual(front: Clip) -> int:
    """Give the patches of as many frames as are looked at."""
    return front.count(front.most)


def faults(part: dict, deep: bool = False) -> list[Finding]:
    """Say whether its header can be read; deep: whether a frame of it decodes."""
    try:
        video.info(part["video"])
        if deep:
            open(part, 1)
    except ValueError as error:
        return [(str(error), "mend the file or remove the line", "error")]
    return []


def key(part: dict) -> tuple:
    """Give what tells one from another: file and times."""
    return part["video"], part.get("start") or 0.0, part.get("duration")


def nothing(front: Clip) -> tuple[torch.Tensor, int]:
    """Give the patches of a black frame."""
    return front([np.zeros(USUAL, np.uint8)])


def hidden(x: torch.Tensor, front: Clip) -> torch.Tensor:
    """Make patches x (N, F) black, each where it was."""
    black = nothing(front)[0][:1, :-PLACE]
    return torch.cat([black.expand(len(x), -1), x[:, -PLACE:]], 1)
