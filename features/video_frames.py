"""Videos to patches: each frame as a picture (features/patches.py), one after the other.

    front = Clip(patches.get("clip"), most=8)
    x, n = front(pictures)           # (8 * 196, F), 8 * 196

The place of a row says which frame it is of, in place of the tile: every frame is one tile.
"""

from dataclasses import dataclass

import numpy as np
import torch

from features import patches
from features.patches import PLACE, Patches
from features.video import MOST

WHOLE = ("stretch", "crop", "pad")  # ways to fit a picture that give one tile


@dataclass(frozen=True)
class Clip:
    """The front end.

    Attributes:
        picture: the front end of each frame.
        most: frames of a video that are looked at, evenly spread.
    """

    picture: Patches
    most: int = 64

    def __post_init__(self):
        """Refuse frames of several tiles."""
        if self.picture.fit not in WHOLE:
            raise ValueError(f"fit: wanted one of {', '.join(WHOLE)}, got {self.picture.fit!r}")
        if not 1 <= self.most <= MOST:
            raise ValueError(f"most: wanted 1 to {MOST} frames, got {self.most}")

    @property
    def dim(self) -> int:
        """Values of a row."""
        return self.picture.dim

    @property
    def per_frame(self) -> int:
        """Patches of a frame."""
        return self.picture.count(1)

    # what encoders of pictures ask of a front end
    side = property(lambda self: self.picture.side)
    fit = property(lambda self: self.picture.fit)
    random = property(lambda self: self.picture.random)

    def count(self, n: int) -> int:
        """Give the patches of n frames."""
        return n * self.per_frame

    def __call__(self, pictures: list[np.ndarray], rng=None) -> tuple[torch.Tensor, int]:
        """Cut pictures, (H, W, 3) uint8 each, into (n, dim) float32, n.

        What chance changes, it changes alike in all frames.
        """
        seed = None if rng is None else int(rng.integers(2**31))
        rows = []
        for number, picture in enumerate(pictures):
            same = None if seed is None else np.random.default_rng(seed)
            x, _ = self.picture(picture, same)
            x[:, -PLACE] = number
            rows.append(x)
        x = torch.cat(rows)
        return x, len(x)


def get(name: str | None = "patches", most: int = 64, **options) -> Clip:
    """Make the front end: that of its frames by its name, and how many of them.

    Raises:
        ValueError: no such front end or setting, or one that means nothing.
    """
    try:
        return Clip(patches.get(name, **options), most)
    except TypeError as error:  # a text where a number is wanted, say
        raise ValueError(f"a setting of a wrong kind: {error}") from None
