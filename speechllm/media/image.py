"""Pictures: a file, cut into patches by a front end (features/patches.py).

    part = {"type": "image", "image": "a.jpg"}

A picture is as much work as a second of sound, whatever its size: the front end brings all to a
few. N patches of F values, the last of which are their places.
"""

import functools

import numpy as np
import torch

from features import image, patches
from features.patches import Patches
from speechllm.media import Finding, front_end

COST_S = 1.0
USUAL = (480, 640, 3)  # height, width, colours of an ordinary one
TIMELESS = True  # how much there is to say of it does not follow from its cost


def open(part: dict) -> np.ndarray:
    """Decode a picture: (height, width, 3) uint8.

    Raises:
        ValueError: no picture, a damaged one or one that is too large.
    """
    return image.load(part["image"])


def front(table: dict, where: str) -> Patches:
    """Make the front end of a preset's table.

    Raises:
        ValueError: no such front end, a wrong option; says where it stands.
    """
    return front_end(patches.get, "patches", "clip", table, where)


def frames(part: dict, front: Patches, rng=None, augment=None) -> tuple[torch.Tensor, int]:
    """Cut a picture into patches (N, F), N; `rng` changes it as the front end allows.

    Raises:
        ValueError: what cannot be read.
    """
    return front(open(part), rng)


def cost(part: dict) -> float:
    """As a second of sound."""
    return COST_S


def usual(front: Patches) -> int:
    """Give the patches of a picture of 640 x 480."""
    return front(np.zeros(USUAL, np.uint8))[1]


def faults(part: dict, deep: bool = False) -> list[Finding]:
    """Say whether it is there and what its header says; deep: whether it decodes, and is blank."""
    try:
        image.info(part["image"])
        pixels = open(part) if deep else None
    except ValueError as error:
        return [(str(error), "mend the file or remove the line", "error")]
    if pixels is not None and (pixels == pixels[0, 0]).all():
        return [(f"{part['image']}: all pixels are alike", "look at it", "warning")]
    return []


def key(part: dict) -> tuple:
    """Give its file."""
    return (part["image"],)


def nothing(front: Patches) -> tuple[torch.Tensor, int]:
    """Give the patches of a black picture."""
    x, n = _black(front)
    return x.clone(), n


def hidden(x: torch.Tensor, front: Patches) -> torch.Tensor:
    """Make patches x (N, F) black, each where it was."""
    black = _black(front)[0][:1]
    return torch.cat([black[:, : -patches.PLACE].expand(len(x), -1), x[:, -patches.PLACE :]], 1)


@functools.lru_cache(8)
def _black(front: Patches) -> tuple[torch.Tensor, int]:
    return front(np.zeros((front.size, front.size, 3), np.uint8))
