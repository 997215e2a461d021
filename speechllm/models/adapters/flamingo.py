"""Flamingo's own Perceiver resampler: latents read all states and themselves, LayerNorm and ReLU.

(B, L, D) -> (B, K, H), K = `latents`, whatever the length. The parts are Idefics' as transformers
has them, its width the encoder's; where the fusion's soft tokens are of another width a Linear
stands behind (Idefics' cross-attention reads them as wide as they are). `perceiver` is the newer
one, of Idefics2. Papers: Flamingo, arXiv 2204.14198; OBELICS (Idefics), arXiv 2306.16527.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.adapters import _norm
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
SMALL = {"heads": 4, "head_dim": 8}
TINY = (SMALL, {**SMALL, "latents": 5, "layers": 1, "head_norm": True, "norm": "none"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the resampler.

    latents: soft tokens of a medium. layers: its depth. heads, head_dim: of its attention.
    head_norm: a LayerNorm over the queries and keys of each head.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    latents: Width = 64
    layers: Layers = 6
    heads: Size = 16
    head_dim: Width = 96
    head_norm: bool = False

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if min(self.latents, self.layers, self.heads, self.head_dim) < 1:
            raise ValueError(
                "wanted latents, layers, heads and head_dim of 1 or more, got "
                f"latents {self.latents}, layers {self.layers}, heads {self.heads}, "
                f"head_dim {self.head_dim}"
            )
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return (0 < n) * self.latents

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to that of the embeddings (V, H)."""
        return Flamingo(self, in_dim, embedding.embedding_dim)


class Flamingo(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.resampler = _resampler(config, in_dim)
        self.linear = nn.Linear(in_dim, out_dim) if in_dim != out_dim else nn.Identity()
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        valid = valid_mask(lengths, states.shape[1])
        states = zero_beyond(states, lengths)
        latents = self.resampler.latents.expand(len(states), -1, -1)
        for attention, perceptron in self.resampler.blocks:
            latents = latents + self._attend(attention, states, latents, valid)
            latents = latents + perceptron(latents)
        latents = self.resampler.layer_norm(latents)
        return self.norm(self.linear(latents)), self.config.count(lengths)

    def _attend(self, attention, states, latents, valid):
        """Let latents (B, K, D) look at states (B, L, D), where `valid` (B, L), and each other."""
        latents = attention.latents_layer_norm(latents)
        read = torch.cat([attention.context_layer_norm(states), latents], 1)
        valid = functional.pad(valid, (0, latents.shape[1]), value=True)
        queries, keys, values = (
            x.unflatten(-1, (self.config.heads, -1)).transpose(1, 2)
            for x in (attention.q_proj(latents), attention.k_proj(read), attention.v_proj(read))
        )
        if self.config.head_norm:
            queries, keys = attention.q_layer_norm(queries), attention.k_layer_norm(keys)
        out = functional.scaled_dot_product_attention(
            queries, keys.to(queries.dtype), values.to(queries.dtype), valid[:, None, None]
        )
        return attention.output_proj(out.transpose(1, 2).flatten(2))


def _resampler(config: Config, dim: int) -> nn.Module:
    """Make the parts of width `dim`, as transformers names them."""
    from transformers import IdeficsConfig
    from transformers.models.idefics.perceiver import IdeficsPerceiverResampler

    settings = IdeficsConfig(
        vision_config={"embed_dim": dim},
        perceiver_config={"qk_layer_norms_perceiver": config.head_norm},
    )
    sizes = (config.layers, config.heads, config.head_dim, config.latents)
    return IdeficsPerceiverResampler(settings, dim, *sizes)
