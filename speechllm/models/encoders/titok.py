"""TiTok: a picture as a row of a few discrete tokens, fewer than it has patches, in no raster.

Learned latent tokens stand behind a tile's patches in a small Transformer; what becomes of them is
brought to the nearest vectors of a codebook (`vector-quantize-pytorch`), and those are the states.
The codebook is a learned Linear of vectors that stay as they were drawn (SimVQ), so that all of it
moves and none of its codes die; TiTok's has vectors of its own. The objective `titok` trains it
with a decoder that draws the patches anew, `maskgit` a network that writes such rows.

Shapes: x (B, T, C P P + 3) patches -> (B, K, D), as many states a tile as there are latent tokens.
Papers: TiTok, Yu et al., arXiv 2406.07550; SimVQ, Zhu et al., arXiv 2411.02038.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.encoders import _vision
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import BelowOne, Layers, Width

# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"side": 3, "patch": 2, "in_channels": 1, "width": 16, "layers": 1, "heads": 2}
TINY = (
    (7, {**SMALL, "latents": 5, "codes": 8, "code_dim": 32}),
    (15, {**SMALL, "in_channels": 3, "latents": 2, "codes": 50, "code_dim": 32}),
)
UNREACHED = r"quantiser\."  # by states: its own loss moves the codebook


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the encoder and of the codebook.

    side: patches along a side of a tile. patch: pixels along a side of a patch. in_channels: 3, or
    1 for grey. width, layers, heads: of the Transformer. latents: K, states a tile. codes: vectors
    of the codebook. code_dim: their width D. dropout: in the Transformer.
    """

    side: Width = 16
    patch: Width = 16
    in_channels: Width = 3
    width: Width = 512
    layers: Layers = 8
    heads: Width = 8
    latents: Width = 32
    codes: Width = 4096
    code_dim: Width = 12
    dropout: BelowOne = 0.0

    def __post_init__(self):
        """Refuse sizes that do not meet."""
        if self.width % self.heads:
            raise ValueError(f"width: wanted a multiple of heads = {self.heads}, got {self.width}")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.code_dim

    @property
    def per_tile(self) -> int:
        """Patches of a tile."""
        return self.side**2

    @property
    def pixels(self) -> int:
        """Values of a patch."""
        return self.in_channels * self.patch**2

    def count(self, n):
        """Give the number of states K for n patches; n may be a tensor of lengths."""
        return -(-n // self.per_tile) * self.latents

    def check(self, front) -> None:
        """Refuse a front end of other tiles.

        Raises:
            ValueError: it has.
        """
        if getattr(front, "side", 0) != self.side or front.fit in ("patches", "within"):
            raise ValueError(
                f"titok with side = {self.side} wants tiles of {self.side * self.patch} pixels: "
                "set the front end's size, and a fit that gives tiles"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: a front end of other patches; the library of the codebook is not there.
        """
        _vision.pixels(in_dim, self.in_channels, self.patch, "titok")
        return TiTok(self)


class TiTok(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, width = config, config.width
        self.patches = nn.Linear(config.pixels, width)
        self.places = nn.Parameter(0.02 * torch.randn(config.per_tile, width))
        self.latents = nn.Parameter(0.02 * torch.randn(config.latents, width))
        self.layers = layers(width, config.layers, config.heads, config.dropout)
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, config.code_dim)
        self.quantiser = _quantiser(config)

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, K, D), lengths (B,)."""
        tiles, inside, used = _vision.tiled(zero_beyond(x, lengths), lengths, self.config.per_tile)
        states, _, _ = self.quantised(tiles, inside)
        steps = self.config.count(lengths)
        states = _vision.joined(states, used)[:, : max(int(steps.max()), 1)]
        return zero_beyond(states, steps), steps

    def quantised(self, tiles, inside):
        """Encode tiles (N, P, F), `inside` (N,) of each valid.

        Gives states (N, K, D), codes (N, K) and a loss, a mean over all states: codes come to what
        is near them, and that to its codes.
        """
        pixels, _ = _vision.split(tiles)
        x = self.patches(pixels) + self.places
        x = torch.cat([self.latents.expand(len(x), -1, -1), x], 1)
        seen = valid_mask(inside + self.config.latents, x.shape[1])
        hidden = torch.zeros_like(x[..., 0]).masked_fill(~seen, -torch.inf)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=hidden)
        x = self.narrow(self.norm(x[:, : self.config.latents]))
        with torch.autocast(x.device.type, enabled=False):  # which is nearest wants all bits
            return self.quantiser(x.float())

    def states_of(self, codes):
        """Give the states (N, K, D) of codes (N, K)."""
        return self.quantiser.codebook[codes]


def layers(width: int, count: int, heads: int, dropout: float) -> nn.ModuleList:
    """Make Transformer layers with their norms first, four times as wide inside."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        for _ in range(count)
    )


def _quantiser(config: Config) -> nn.Module:
    try:
        from vector_quantize_pytorch import SimVQ
    except ImportError:
        raise ValueError("titok: pip install speechllm[tokens] brings the codebook") from None
    return SimVQ(config.code_dim, config.codes)
