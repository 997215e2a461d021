"""MaskGIT's network: of a row of discrete tokens, some hidden, what stands where they are hidden.

A Transformer that sees both ways; in front of the row stands what is to be drawn, the mean of the
LLM's embeddings of the words for it, or a learned vector for anything. N rows, K tokens, H the
LLM's width. Paper: Chang et al., arXiv 2202.04200.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.models.encoders.titok import layers
from speechllm.models.heads.titok import encoder_of
from speechllm.ranges import BelowOne, Layers, Width


@dataclass(frozen=True)
class Config:
    """Sizes of the network; medium: whose encoder, `titok`, has the tokens."""

    width: Width = 512
    layers: Layers = 8
    heads: Width = 8
    dropout: BelowOne = 0.1
    medium: str = "image"

    def __post_init__(self):
        """Refuse sizes that do not meet."""
        if self.width % self.heads:
            raise ValueError(f"width: wanted a multiple of heads = {self.heads}, got {self.width}")

    def build(self, model) -> "Writer":
        """Make the network for a model.

        Raises:
            ValueError: no branch for the medium, or another encoder.
        """
        return Writer(self, encoder_of(model, self.medium).config, model.width)


class Writer(nn.Module):
    """See the module docstring; `encoder` is the Config of the encoder."""

    def __init__(self, config: Config, encoder, llm_width: int):
        super().__init__()
        self.config, width = config, config.width
        self.size, self.hidden = encoder.latents, encoder.codes  # the code after the last: hidden
        self.codes = nn.Embedding(encoder.codes + 1, width)
        self.places = nn.Parameter(0.02 * torch.randn(encoder.latents + 1, width))
        self.wanted = nn.Linear(llm_width, width)
        self.anything = nn.Parameter(0.02 * torch.randn(width))
        self.layers = layers(width, config.layers, config.heads, config.dropout)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, encoder.codes))
        nn.init.normal_(self.codes.weight, std=0.02)

    def forward(self, codes, wanted, free):
        """Logits (N, K, codes) of codes (N, K), `self.hidden` where they are to be found.

        wanted: (N, H) of what is to be drawn. free: (N,) bool, where it may be anything.
        """
        front = torch.where(free[:, None], self.anything, self.wanted(wanted))
        x = torch.cat([front[:, None], self.codes(codes)], 1) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.head(x[:, 1:])


def named(model, ids, answers) -> torch.Tensor:
    """Mean of the LLM's embeddings of ids (N, S) where `answers` (N, S) says so: (N, H)."""
    embedded = model.llm.get_input_embeddings()(ids) * answers[..., None]
    return embedded.sum(1) / answers.sum(1, keepdim=True).clamp(min=1)
