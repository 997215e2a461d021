"""No encoder: each patch of a picture through one Linear, as Fuyu.

The rows of a front end for pictures (features/patches.py), of any number and shape. Where it ends
rows by a mark, which tells the LLM the picture's width (`newline = true`), the adapter `rows` says
what stands there.

Shapes: x (B, T, C P P + 3) -> (B, T, D). Source: Adept's Fuyu-8B, adept.ai/blog/fuyu-8b.
"""

import dataclasses

from torch import nn

from features.patches import PLACE
from speechllm.models.encoders import _vision
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Width

# Small enough for tests: (width of the front end, settings) of each case.
TINY = ((15, {"dim": 32, "patch": 2}), (7, {"dim": 32, "patch": 2, "channels": 1}))


@dataclasses.dataclass(frozen=True)
class Config:
    """dim: width D, Fuyu's that of the LLM. patch: side of a patch. channels: 3, or 1 for grey.

    last: whether the channels of a pixel stand side by side, as in Fuyu's own weights.
    """

    dim: Width = 4096
    patch: Width = 30
    channels: Width = 3
    last: bool = False
    placed = True

    def count(self, n):
        """Give as many states as there are patches; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: a front end of other patches.
        """
        _vision.pixels(in_dim, self.channels, self.patch, "patches")
        return Patches(self, in_dim - PLACE)


class Patches(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(in_dim, config.dim)

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, T, D), lengths (B,)."""
        pixels, _ = _vision.split(zero_beyond(x, lengths))
        if self.config.last:
            pixels = pixels.unflatten(-1, (self.config.channels, -1)).transpose(-1, -2).flatten(-2)
        return self.linear(pixels), lengths

    def places(self, x, lengths):
        """Say where the state of each patch stands: tile, row, column, (B, T, 3)."""
        return _vision.split(zero_beyond(x, lengths))[1]
