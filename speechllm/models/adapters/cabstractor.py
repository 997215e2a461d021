"""HoneyBee's C-Abstractor: residual convolutions over each tile, pooled to fewer places.

Learned positions, `depth` residual blocks, a mean over the tile down to `out` x `out` places, again
`depth` blocks, a perceptron: neighbours stay neighbours, and the number of soft tokens is free.

(B, L, D) -> (B, K, H), K = out^2 a tile. Paper: HoneyBee, arXiv 2312.06742; its blocks are
RegNet's (arXiv 2003.13678) with squeeze-and-excitation, LayerNorm over the channels and SiLU.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _grid, _mlp, _norm
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
TINY = ({"side": 4, "out": 2, "hidden": 24, "depth": 1}, {"side": 5, "out": 3, "depth": 2})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings.

    side: states along a side of a tile. out: soft tokens along a side of it. depth: blocks before
    and after the pooling, each. hidden: their channels, 0 for the LLM's width. layers: of the
    perceptron behind them. norm, norm_scale: `_norm.Config`.
    """

    side: Width = 24
    out: Width = 12
    depth: Layers = 3
    hidden: Size = 0
    layers: Layers = 2

    def __post_init__(self):
        """Refuse more places than there are."""
        if self.out > self.side:
            raise ValueError(f"out: wanted at most side = {self.side}, got {self.out}")
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n states; n may be a tensor of lengths."""
        return -(-n // self.side**2) * self.out**2

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return CAbstractor(self, in_dim, embedding.embedding_dim)


class CAbstractor(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        hidden = config.hidden or out_dim
        self.places = nn.Parameter(torch.randn(config.side, config.side, in_dim) * 0.02)
        self.first = _blocks(in_dim, hidden, config.depth)
        self.pool = nn.AdaptiveAvgPool2d(config.out)
        self.second = _blocks(hidden, hidden, config.depth)
        self.mlp = _mlp.perceptron([hidden] + [out_dim] * config.layers, "silu", True)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        counts = self.config.count(lengths)
        tiles = _grid.tiles(states, lengths, self.config.side) + self.places
        x = self.first(tiles.flatten(0, 1).permute(0, 3, 1, 2))
        x = self.second(self.pool(x)).flatten(2).transpose(1, 2)
        x = x.unflatten(0, tiles.shape[:2]).flatten(1, 2)[:, : int(counts.max())]
        return self.norm(self.mlp(x)), counts


def _blocks(in_channels: int, channels: int, depth: int) -> nn.Module:
    widths = [in_channels] + [channels] * depth
    return nn.Sequential(*(Block(a, b) for a, b in zip(widths, widths[1:], strict=False)))


class Block(nn.Module):
    """A residual block: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.one = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.three = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.last = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms = nn.ModuleList(ChannelNorm(channels) for _ in range(3))
        squeezed = max(in_channels // 4, 1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)
        other = in_channels != channels
        self.skip = nn.Conv2d(in_channels, channels, 1, bias=False) if other else nn.Identity()

    def forward(self, x):
        """See the class."""
        silu, (first, second, third) = nn.functional.silu, self.norms
        y = silu(first(self.one(x)))
        y = silu(second(self.three(y)))
        share = self.excite(silu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return silu(third(self.last(y * share)) + self.skip(x))


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, x):
        """Normalise each place by itself."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
