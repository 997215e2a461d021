"""A strided convolution, a rotary Transformer layer over what is left, and a Linear: Llama 3.

The layer is transformers' Llama layer, looking both ways: (B, L, D) -> (B, K, H), K = L / stride,
rounded up. Paper: Llama 3, arXiv 2407.21783, section 8.2.1 (from 40 to 80 ms, about 100 M
parameters); it names no activation after the convolution, no number of heads and no direction.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _norm
from speechllm.models.adapters.conv import convolve
from speechllm.models.masks import valid_mask
from speechllm.ranges import Layers, Size, Width

# Settings to try in tests, small enough for them.
SMALL = {"hidden": 32, "heads": 4, "ff": 48}
TINY = (SMALL, {**SMALL, "kernel": 4, "stride": 3, "layers": 2, "norm": "layer"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the convolution and the Transformer.

    kernel, stride: of the convolution, in steps. hidden, heads, ff: width, attention heads and
    inner width (gated) of a Transformer layer. layers: how many of them.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    kernel: Width = 3
    stride: Width = 2
    hidden: Size = 3072
    heads: Size = 24
    ff: Size = 4096
    layers: Layers = 1

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if not 1 <= self.stride <= self.kernel:
            raise ValueError(
                "wanted 1 <= stride <= kernel (or steps would be skipped), got "
                f"stride {self.stride}, kernel {self.kernel}"
            )
        if min(self.heads, self.layers, self.ff) < 1 or self.hidden % (2 * self.heads):
            raise ValueError(
                "wanted heads, layers and ff of 1 or more and hidden a multiple of 2 * heads, got "
                f"heads {self.heads}, layers {self.layers}, ff {self.ff}, hidden {self.hidden}"
            )
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return -(-n // self.stride)

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return ConvTransformer(self, in_dim, embedding.embedding_dim)


class ConvTransformer(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        from transformers import LlamaConfig
        from transformers.models.llama import modeling_llama

        super().__init__(config)
        layer = LlamaConfig(
            hidden_size=config.hidden,
            intermediate_size=config.ff,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            attn_implementation="sdpa",
        )
        self.conv = nn.Conv1d(in_dim, config.hidden, config.kernel, config.stride)
        self.rotary = modeling_llama.LlamaRotaryEmbedding(layer)
        self.layers = nn.ModuleList(
            modeling_llama.LlamaDecoderLayer(layer, i) for i in range(config.layers)
        )
        self.linear = nn.Linear(config.hidden, out_dim)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        x, lengths = convolve(self.conv, states, lengths)
        place = torch.arange(x.shape[1], device=x.device)[None]
        angles = self.rotary(x, position_ids=place)
        # each step looks at all valid steps, before and behind: a mask is always given, or the
        # layer would look back only
        mask = valid_mask(lengths, x.shape[1])[:, None, None].expand(-1, 1, x.shape[1], -1)
        for layer in self.layers:
            x = layer(x, attention_mask=mask, position_embeddings=angles)
        return self.norm(self.linear(x)), lengths
