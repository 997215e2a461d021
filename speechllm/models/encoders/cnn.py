"""A small 2-D convolutional network over log-mel frames, from nothing: for sounds, not for words.

Blocks of a convolution, BatchNorm and ReLU, each followed by a mean over 2 x 2 (time and
frequency); then the mean and the largest over the bands that are left, side by side. The first
convolution may stride, which saves three quarters of the work. It learns from hundreds of clips,
where attention wants many thousands.

Shapes: x (B, T, F) features -> (B, L, D) states, L = T / (stride 2^blocks), rounded up; D is twice
the last number of channels. Paper: PANNs (Cnn6), arXiv 1912.10211.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.encoders._normalize import NORMALIZE
from speechllm.models.masks import zero_beyond
from speechllm.ranges import BelowOne, Width

# Small enough for tests: (width of the front end, settings) of each case.
TINY = (
    (16, {"channels": [8, 16]}),
    (13, {"channels": [4, 8, 16], "kernel": 5, "stride": 1, "normalize": "utterance"}),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the network.

    channels: one number a block. kernel: odd width of the convolutions, in time and frequency.
    stride: of the first one. dropout: on whole channels, after each block. normalize: of the
    features, as the conformer's.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    kernel: Width = 3
    stride: Width = 2
    dropout: BelowOne = 0.0
    normalize: str = "level"

    def __post_init__(self):
        """Refuse sizes that mean nothing."""
        if not self.channels or min(*self.channels, self.stride) < 1 or self.kernel % 2 == 0:
            raise ValueError(
                "wanted channels and stride of 1 or more and an odd kernel, got channels "
                f"{list(self.channels)}, stride {self.stride}, kernel {self.kernel}"
            )
        if self.normalize not in NORMALIZE:
            raise ValueError(
                f"normalize must be one of {', '.join(map(repr, NORMALIZE))}, "
                f"got {self.normalize!r}"
            )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return 2 * self.channels[-1]

    @property
    def subsampling(self) -> int:
        """Frames a step."""
        return self.stride * 2 ** len(self.channels)

    def count(self, n):
        """Give the number of steps L for n frames; n may be a tensor of lengths."""
        return -(-n // self.subsampling)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for features of width `in_dim`.

        Raises:
            ValueError: too few bands to be halved by each block (raw waves are 1 wide).
        """
        if in_dim < self.subsampling:
            raise ValueError(
                f"the cnn encoder with {len(self.channels)} blocks wants features of at least "
                f"{self.subsampling} dimensions, such as the front end kaldi_fbank80, got a front "
                f"end of dimension {in_dim}"
            )
        return CNN(self)


class CNN(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        widths = [1, *config.channels]
        strides = [config.stride] + [1] * (len(config.channels) - 1)
        self.blocks = nn.ModuleList(
            Block(a, b, config.kernel, stride, config.dropout)
            for a, b, stride in zip(widths, widths[1:], strides, strict=False)
        )

    def forward(self, x, lengths):
        """Map features x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = NORMALIZE[self.config.normalize](zero_beyond(x, lengths), lengths)
        x = nn.functional.pad(x, (0, 0, 0, max(0, 1 - x.shape[1]))).unsqueeze(1)
        for block in self.blocks:
            x, lengths = block(x, lengths)
        states = torch.cat([x.mean(3), x.amax(3)], 1).transpose(1, 2)
        return zero_beyond(states, lengths), lengths


class Block(nn.Module):
    """Map (B, C, T, F) to (B, C', T / 2 stride, F / 2 stride); nothing beyond a length is seen."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, dropout: float):
        super().__init__()
        self.stride = stride
        self.convolution = nn.Conv2d(
            in_channels, channels, kernel, stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x, lengths):
        """Convolve, then halve time and frequency; an odd last frame keeps half its weight."""
        lengths = -(-lengths // self.stride)
        x = zero_beyond(self.norm(self.convolution(x)).relu(), lengths, 2)
        x = nn.functional.pad(x, (0, x.shape[3] == 1, 0, x.shape[2] % 2))
        return self.dropout(nn.functional.avg_pool2d(x, 2)), -(-lengths // 2)
