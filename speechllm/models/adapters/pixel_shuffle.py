"""Pixel shuffle: squares of neighbouring patches side by side, then a perceptron.

A tile of side x side states becomes (side / factor)^2 soft tokens, factor^2 times as wide before
the perceptron: 1024 to 256 in InternVL and NVLM. Rows that a tile lacks are left out. With `tags` a
learned soft token stands in front of each tile's, which says where the tile is: NVLM's 1-D tags.

(B, L, D) -> (B, K, H). Papers: InternVL 1.5, arXiv 2404.16821; NVLM, arXiv 2409.11402.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _grid, _mlp, _norm
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
TINY = ({"side": 4, "tags": 3}, {"side": 6, "factor": 3, "hidden": 24, "norm": "none"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings.

    side: states along a side of a tile. factor: how many of them, along a side, one token takes.
    layers, hidden, activation: of the perceptron, hidden 0 for the LLM's width. input_norm: with a
    LayerNorm before it. tags: how many tiles there are tags for, the thumbnail's among them; 0:
    none. norm, norm_scale: `_norm.Config`.
    """

    side: Width = 32
    factor: Width = 2
    layers: Layers = 2
    hidden: Size = 0
    activation: str = "gelu"
    input_norm: bool = True
    tags: Size = 0

    def __post_init__(self):
        """Refuse squares that do not fill a tile."""
        if self.side % self.factor:
            raise ValueError(f"side: wanted a multiple of factor = {self.factor}, got {self.side}")
        _mlp.check(self.activation)
        super().__post_init__()

    @property
    def placed(self) -> bool:
        """Whether it is to be told which tile each state is of."""
        return self.tags > 0

    def count(self, n):
        """Give the number of soft tokens K for n states; n may be a tensor of lengths."""
        # whole tiles, and of the last one the rows of squares that have any patch
        across = self.side // self.factor
        whole, rest = n // self.side**2, n % self.side**2
        rows = -(-rest // (self.side * self.factor))
        tags = (whole + (rows > 0)) if self.tags else 0
        return whole * across**2 + rows * across + tags

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return PixelShuffle(self, in_dim, embedding.embedding_dim)


class PixelShuffle(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        wide = in_dim * config.factor**2
        hidden = [config.hidden or out_dim] * (config.layers - 1)
        self.before = nn.LayerNorm(wide) if config.input_norm else nn.Identity()
        self.mlp = _mlp.perceptron([wide, *hidden, out_dim], config.activation, True)
        self.norm = config.last(out_dim)
        self.tags = nn.Embedding(config.tags, out_dim) if config.tags else None

    def forward(self, states, lengths, places=None):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,).

        places: (B, L, 3), for tags; without them tiles count from 1.
        """
        factor, counts = self.config.factor, self.config.count(lengths)
        tiles = _grid.tiles(states, lengths, self.config.side)
        # (B, W, rows, f, columns, f, D) -> (B, W, rows, columns, f, f, D)
        squares = tiles.unflatten(3, (-1, factor)).unflatten(2, (-1, factor)).transpose(3, 4)
        squares = self.norm(self.mlp(self.before(squares.flatten(4).flatten(2, 3))))
        if self.tags is not None:
            squares = torch.cat([self._tags(squares, places), squares], 2)
        return squares.flatten(1, 2)[:, : int(counts.max())], counts

    def _tags(self, squares, places):
        """Give the tag of each tile of squares (B, W, K, H): (B, W, 1, H)."""
        batch, tiles = squares.shape[:2]
        if places is None:
            numbers = torch.arange(1, tiles + 1, device=squares.device).expand(batch, -1)
        else:
            numbers = places[:, :: self.config.side**2, 0][:, :tiles]
        return self.tags(numbers.clamp(0, len(self.tags.weight) - 1))[:, :, None].to(squares.dtype)
