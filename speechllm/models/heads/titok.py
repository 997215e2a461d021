"""TiTok's decoder: a picture's patches, drawn from its few discrete tokens.

A learned vector stands in the place of each patch, the tokens before them; a small Transformer
makes pixels of the places. N tiles, K tokens, P patches. Paper: Yu et al., arXiv 2406.07550, whose
decoder draws the tokens of another, larger one first; this one draws pixels at once.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.models.encoders.titok import TiTok, layers
from speechllm.ranges import Layers, Width


@dataclass(frozen=True)
class Config:
    """Sizes of the decoder; medium: whose encoder, `titok`, it draws from."""

    width: Width = 512
    layers: Layers = 8
    heads: Width = 8
    medium: str = "image"

    def __post_init__(self):
        """Refuse sizes that do not meet."""
        if self.width % self.heads:
            raise ValueError(f"width: wanted a multiple of heads = {self.heads}, got {self.width}")

    def build(self, model) -> "Decoder":
        """Make the decoder for a model.

        Raises:
            ValueError: no branch for the medium, or another encoder.
        """
        return Decoder(self, encoder_of(model, self.medium).config)


class Decoder(nn.Module):
    """See the module docstring; `encoder` is the Config of the encoder."""

    def __init__(self, config: Config, encoder):
        super().__init__()
        self.config, width = config, config.width
        self.wide = nn.Linear(encoder.code_dim, width)
        self.latents = nn.Parameter(0.02 * torch.randn(encoder.latents, width))
        self.places = nn.Parameter(0.02 * torch.randn(encoder.per_tile, width))
        self.layers = layers(width, config.layers, config.heads, 0.0)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, encoder.pixels))

    def forward(self, states):
        """Draw the pixels (N, P, C P P), as the front end normalised them, of states (N, K, D)."""
        places = self.places.expand(len(states), -1, -1)
        x = torch.cat([self.wide(states) + self.latents, places], 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, states.shape[1] :])


def encoder_of(model, medium: str) -> TiTok:
    """Give the encoder `titok` of a model.

    Raises:
        ValueError: the model has no such branch, or another encoder there.
    """
    encoder = getattr(model.branches.get(medium), "encoder", None)
    if not isinstance(encoder, TiTok):
        raise ValueError(f"medium: wanted a branch with the encoder titok, got {medium!r}")
    return encoder
