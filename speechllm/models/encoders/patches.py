"""No encoder: each patch of a picture through one Linear, as Fuyu.

The rows of a front end for pictures (features/patches.py), of any number and shape. Where the front
end ends the rows of a picture by a mark (`newline = true`), a learned vector stands there, which
tells the LLM the picture's width.

Shapes: x (B, T, C P P + 3) -> (B, T, D). Source: Adept's Fuyu-8B, adept.ai/blog/fuyu-8b.
"""

import dataclasses

import torch
from torch import nn

from features.patches import PLACE
from speechllm.models.encoders import _vision
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Width

# Small enough for tests: (width of the front end, settings) of each case.
TINY = ((15, {"dim": 32, "patch": 2}), (7, {"dim": 32, "patch": 2, "channels": 1}))


@dataclasses.dataclass(frozen=True)
class Config:
    """dim: width D, Fuyu's that of the LLM. patch: side of a patch. channels: 3, or 1 for grey."""

    dim: Width = 4096
    patch: Width = 30
    channels: Width = 3

    def count(self, n):
        """Give as many states as there are patches; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: a front end of other patches.
        """
        _vision.pixels(in_dim, self.channels, self.patch, "patches")
        return Patches(in_dim - PLACE, self.dim)


class Patches(nn.Module):
    """See the module docstring."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.linear = nn.Linear(in_dim, dim)
        self.newline = nn.Parameter(torch.randn(dim))

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, T, D), lengths (B,)."""
        pixels, places = _vision.split(zero_beyond(x, lengths))
        states = self.linear(pixels)
        ends = places[..., -1:] < 0
        return torch.where(ends, self.newline.to(states.dtype), states), lengths
