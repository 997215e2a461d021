"""The Perceiver resampler of Flamingo: latents read the whole utterance and themselves.

(B, L, D) -> (B, K, H), K = `latents`, whatever the length. The resampler is Idefics2's as
transformers has it: a Linear brings states to its width and another its latents to the LLM's.
Papers: Flamingo, arXiv 2204.14198 (64 latents); Idefics2, arXiv 2405.02246, whose RMSNorm, gated
perceptron and shared keys and values stand in place of Flamingo's LayerNorm and squared ReLU.
"""

import dataclasses

from torch import nn

from speechllm.models import resampler
from speechllm.models.adapters import _norm
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
SMALL = {"heads": 4, "kv_heads": 2, "head_dim": 8}
TINY = (SMALL, {**SMALL, "latents": 5, "hidden": 24, "layers": 1, "norm": "none"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the resampler.

    latents: soft tokens of an utterance. hidden: its width, 0 for the encoder's. layers: its depth.
    heads, kv_heads, head_dim: of its attention.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    latents: Width = 64
    hidden: Size = 0
    layers: Layers = 3
    heads: Size = 16
    kv_heads: Size = 4
    head_dim: Width = 96

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if min(self.latents, self.layers, self.head_dim, self.kv_heads) < 1 or self.hidden < 0:
            raise ValueError(
                "wanted latents, layers, head_dim and kv_heads of 1 or more and hidden >= 0, got "
                f"latents {self.latents}, layers {self.layers}, head_dim {self.head_dim}, "
                f"kv_heads {self.kv_heads}, hidden {self.hidden}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"wanted heads a multiple of kv_heads, got heads {self.heads}, "
                f"kv_heads {self.kv_heads}"
            )
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return (0 < n) * self.latents

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Perceiver(self, in_dim, embedding.embedding_dim)


class Perceiver(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        hidden = config.hidden or in_dim
        self.linear1 = nn.Linear(in_dim, hidden)
        self.resampler = resampler.make(
            hidden, config.latents, config.layers, config.heads, config.kv_heads, config.head_dim
        )
        self.linear2 = nn.Linear(hidden, out_dim)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        valid = valid_mask(lengths, states.shape[1]).long()
        latents = self.resampler(self.linear1(zero_beyond(states, lengths)), valid)
        return self.norm(self.linear2(latents)), self.config.count(lengths)
