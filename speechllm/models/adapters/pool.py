"""The mean of neighbouring encoder steps, then one Linear or more: the projector of Qwen2-Audio.

(B, L, D) -> (B, K, H), K = L / stride. Qwen2-Audio (arXiv 2407.10759) and Audio Flamingo 3 (arXiv
2507.08128) pool two steps inside their encoder, before its last LayerNorm: layer_norm true with an
encoder that ends before its own. Then Qwen2-Audio has one Linear, Audio Flamingo 3 two.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _mlp, _norm, _stack
from speechllm.ranges import Layers, Width

# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"stride": 3, "rest": "pad", "norm": "none"},
    {"layer_norm": True, "layers": 2, "norm": "layer"},
)


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the pooling adapter.

    stride: encoder steps a mean. layer_norm: one over each mean, before the first Linear.
    layers: how many Linears, as wide as the LLM; GELU between them.
    rest: what becomes of the last, incomplete group of steps: "drop" leaves it out, "pad" keeps
    it, the mean of the steps that are there. One that is all there is is always kept.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    stride: Width = 2
    layer_norm: bool = False
    layers: Layers = 1
    rest: str = "drop"

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.layers < 1:
            raise ValueError(f"layers must be 1 or more, got {self.layers}")
        _stack.check(self.stride, self.rest)
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return _stack.count(n, self.stride, self.rest)

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Pool(self, in_dim, embedding.embedding_dim)


class Pool(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.layer_norm = nn.LayerNorm(in_dim) if config.layer_norm else nn.Identity()
        widths = [in_dim] + [out_dim] * config.layers
        self.mlp = _mlp.perceptron(widths, "gelu", bias=True)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        stride = self.config.stride
        groups = _stack.stacked(states, lengths, stride, self.config.rest)
        before = torch.arange(groups.shape[1], device=lengths.device) * stride
        there = (lengths[:, None] - before).clamp(1, stride)  # steps of each group: (B, K)
        means = groups.sum(2) / there.unsqueeze(-1)
        return self.norm(self.mlp(self.layer_norm(means))), self.config.count(lengths)
