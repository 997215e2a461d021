"""A Transformer over the keypoints of a signer, as in Sign2Vec and SignLLaVA.

Frames (features/pose_frames.py: places, velocities, masks of joints) go through a perceptron, a
strided convolution over time that brings the rate down, and Transformer layers with positions that
are added to their input (sines). Attention sees a clip's own steps alone.

Shapes: x (B, T, F) -> (B, L, D), L = T / stride, rounded up. Sources: Sign2Vec and SignLLaVA, JSALT
workshop 2024, github.com/JSALT2024/Sign_LLaVA; the Transformer, arXiv 1706.03762.
"""

import dataclasses
import math

import torch
from torch import nn

from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import BelowOne, Layers, Size, Width

# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"dim": 32, "heads": 4, "layers": 2}
TINY = ((245, SMALL), (90, {**SMALL, "stride": 3, "kernel": 5, "ff": 48}))


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the encoder.

    dim: width D. layers, heads: of the Transformer. ff: width inside its layers, 0 for four times
    dim. stride: frames a state. kernel: odd width of the convolution. dropout: everywhere.
    """

    dim: Width = 256
    layers: Layers = 4
    heads: Width = 4
    ff: Size = 0
    stride: Width = 2
    kernel: Width = 3
    dropout: BelowOne = 0.1

    def __post_init__(self):
        """Refuse sizes that do not meet."""
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim: wanted an even multiple of heads = {self.heads}: {self.dim}")
        if self.kernel % 2 == 0 or self.kernel < self.stride:
            raise ValueError(
                f"kernel: wanted an odd one of at least stride = {self.stride}, got {self.kernel}"
            )

    def count(self, n):
        """Give the number of states L for n frames; n may be a tensor of lengths."""
        return -(-n // self.stride)

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for frames of `in_dim` values.

        Raises:
            ValueError: a front end of something else than joints.
        """
        if in_dim % 3 and in_dim % 5:
            raise ValueError(
                "this pose encoder wants three or five values a joint (the front end 'pose'), got "
                f"a front end of dimension {in_dim}"
            )
        return Pose(self, in_dim)


class Pose(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        self.config, dim = config, config.dim
        self.before = nn.Sequential(
            nn.Linear(in_dim, dim), nn.LayerNorm(dim), nn.GELU(), nn.Dropout(config.dropout)
        )
        self.conv = nn.Conv1d(dim, dim, config.kernel, config.stride, config.kernel // 2)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, config.heads, config.ff or 4 * dim, config.dropout, "gelu",
                batch_first=True, norm_first=True,
            )
            for _ in range(config.layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, lengths):
        """Map frames x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = zero_beyond(self.before(zero_beyond(x, lengths)), lengths)
        x = nn.functional.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        steps = self.config.count(lengths)
        x = x[:, : max(int(steps.max()), 1)]
        x = x + sines(x.shape[1], x.shape[2], x.device).to(x.dtype)
        # one mask for all queries, of one kind: an empty clip sees its first step
        hidden = torch.zeros(x.shape[:2], dtype=x.dtype, device=x.device)
        hidden = hidden.masked_fill(~valid_mask(steps.clamp(min=1), x.shape[1]), -math.inf)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        return zero_beyond(self.norm(x), steps), steps


def sines(size: int, dim: int, device=None) -> torch.Tensor:
    """Positions (size, dim): sines and cosines of geometric rates."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    angles = torch.arange(size, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
