"""A small convolutional network over pictures, from nothing: it learns from thousands of them.

Each tile is put together again from its patches; stages of a convolution, BatchNorm and ReLU, two
each, halve it (or what `strides` says) until one state is left for each patch, which sees far
beyond it. Where there are few pictures, convolutions need much less of them than attention does.

Shapes: x (B, T, C P P + 3) patches -> (B, T, D) states, D the last number of channels.
Paper: VGG, arXiv 1409.1556.
"""

import dataclasses
import math

from torch import nn

from speechllm.models.encoders import _vision
from speechllm.models.masks import zero_beyond
from speechllm.ranges import BelowOne, Width

# Small enough for tests: (width of the front end, settings) of each case.
TINY = (
    (19, {"side": 3, "patch": 4, "channels": [8, 32], "strides": [2, 2], "in_channels": 1}),
    (15, {"side": 4, "patch": 2, "channels": [32], "strides": [2]}),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the network.

    side: patches along a side of a tile. patch: pixels along a side of a patch. channels: one
    number a stage. strides: by how much each stage brings height and width down; together, a
    patch's side. in_channels: 3, or 1 for grey. dropout: on whole channels, after each stage.
    """

    side: Width = 14
    patch: Width = 16
    channels: tuple[int, ...] = (32, 64, 128, 256)
    strides: tuple[int, ...] = (2, 2, 2, 2)
    in_channels: Width = 3
    dropout: BelowOne = 0.0

    def __post_init__(self):
        """Refuse sizes that do not meet."""
        if not self.channels or min(self.channels) < 1 or len(self.channels) != len(self.strides):
            raise ValueError(
                "wanted as many channels, of 1 or more, as strides, got channels "
                f"{list(self.channels)}, strides {list(self.strides)}"
            )
        if math.prod(self.strides) != self.patch or min(self.strides) < 1:
            raise ValueError(
                f"strides: wanted {self.patch} as their product, the side of a patch, got "
                f"{list(self.strides)}"
            )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.channels[-1]

    def count(self, n):
        """Give as many states as there are patches; n may be a tensor of lengths."""
        return n

    def check(self, front) -> None:
        """Refuse a front end of other tiles.

        Raises:
            ValueError: it has.
        """
        if getattr(front, "side", 0) != self.side or front.fit in ("patches", "within"):
            raise ValueError(
                f"convnet with side = {self.side} wants tiles of {self.side * self.patch} pixels: "
                "set the front end's size, and a fit that gives tiles"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: a front end of other patches.
        """
        _vision.pixels(in_dim, self.in_channels, self.patch, "convnet")
        return ConvNet(self)


class ConvNet(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        widths = [config.in_channels, *config.channels]
        stages = zip(widths, widths[1:], config.strides, strict=False)
        self.stages = nn.Sequential(*(_stage(a, b, s, config.dropout) for a, b, s in stages))

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, T, D), lengths (B,)."""
        side, channels = self.config.side, self.config.in_channels
        longest = max(int(lengths.max()), 1)
        tiles, _, used = _vision.tiled(zero_beyond(x, lengths), lengths, side**2)
        pixels, _ = _vision.split(tiles)
        states = self.stages(_vision.pictures(pixels, channels, side)).flatten(2).transpose(1, 2)
        states = _vision.joined(states, used)[:, :longest]
        return zero_beyond(states, lengths), lengths


def _stage(in_channels: int, channels: int, stride: int, dropout: float) -> nn.Module:
    """Two convolutions; the greatest of each square of `stride`."""
    return nn.Sequential(
        *_convolved(in_channels, channels),
        *_convolved(channels, channels),
        nn.MaxPool2d(stride),
        nn.Dropout2d(dropout),
    )


def _convolved(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.ReLU()
