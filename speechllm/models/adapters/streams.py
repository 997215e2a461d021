"""A perceptron for each stream of a medium that several encoders read (encoder `streams`).

(B, L, D) -> (B, L, H). The last value of a state says which stream it is of, the first ones, as
many as its encoder is wide, are what the stream's perceptron reads.
Source: SignLLaVA, github.com/JSALT2024/Sign_LLaVA (JSALT workshop 2024).
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _mlp, _norm
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Layers, Size

# Settings to try in tests, small enough for them.
TINY = ({}, {"layers": 1, "norm": "none"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of each perceptron.

    layers: how many Linears. hidden: width between them, 0 for the LLM's width. activation: "relu",
    "gelu" or "silu". norm, norm_scale: of the one norm behind all (`_norm.Config`).
    """

    layers: Layers = 2
    hidden: Size = 0
    activation: str = "gelu"
    streams = True

    def __post_init__(self):
        """Refuse an activation that there is not."""
        _mlp.check(self.activation)
        super().__post_init__()

    def count(self, n):
        """Give as many soft tokens as there are states; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int | tuple[int, ...], embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from the streams' widths to the LLM's embeddings (V, H).

        in_dim: the width of each stream; a number D is a single one's, with that which says so.
        """
        widths = in_dim if isinstance(in_dim, tuple) else (in_dim - 1,)
        return Streams(self, widths, embedding.embedding_dim)


class Streams(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dims: tuple[int, ...], out_dim: int):
        super().__init__(config)
        self.in_dims = in_dims
        widths = [_mlp.widths(config.layers, one, config.hidden, out_dim) for one in in_dims]
        self.mlps = nn.ModuleList(_mlp.perceptron(w, config.activation, True) for w in widths)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, L, H), lengths (B,)."""
        states = zero_beyond(states, lengths)
        which = states[..., -1].detach().round().clamp(0, len(self.mlps) - 1)
        tokens = 0
        for number, (mlp, width) in enumerate(zip(self.mlps, self.in_dims, strict=True)):
            here = (which == number)[..., None]
            tokens = tokens + torch.where(here, mlp(states[..., :width]), 0.0)
        return self.norm(tokens), lengths
