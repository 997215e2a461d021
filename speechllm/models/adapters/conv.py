"""The CNN length adapter: strided convolutions bring the rate down, a Linear the width.

`layers` times Conv1d with stride and GELU, then Linear to the LLM's width and a norm:
(B, L, D) -> (B, K, H), K = L / stride**layers, rounded up.
Papers: the length adapter of Li et al., arXiv 2010.12829; SpeechVerse, arXiv 2405.08295.
"""

import dataclasses

from torch import nn
from torch.nn import functional

from speechllm.models.adapters import _norm
from speechllm.models.masks import zero_beyond
from speechllm.ranges import BelowOne, Layers, Size, Width

# Settings to try in tests, small enough for them.
TINY = ({}, {"kernel": 4, "stride": 3, "layers": 1, "norm": "layer", "hidden": 24})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the convolutional adapter.

    layers: how many convolutions. kernel, stride: of each, in steps. hidden: their channels, 0 for
    the encoder's width. dropout: after each activation.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    layers: Layers = 2
    kernel: Width = 3
    stride: Width = 2
    hidden: Size = 0
    dropout: BelowOne = 0.0

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.layers < 1 or not 1 <= self.stride <= self.kernel:
            raise ValueError(
                "wanted layers >= 1 and 1 <= stride <= kernel (or steps would be skipped), got "
                f"layers {self.layers}, stride {self.stride}, kernel {self.kernel}"
            )
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return -(-n // self.stride**self.layers)

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Conv(self, in_dim, embedding.embedding_dim)


def convolve(conv: nn.Conv1d, states, lengths):
    """Take a strided convolution: (B, L, C) -> (B, ceil(L / stride), C'), step i centred at i * s.

    Nothing beyond lengths (B,) is seen; the new lengths are rounded up.
    """
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    steps = -(-states.shape[1] // stride)
    left = (kernel - 1) // 2
    right = (steps - 1) * stride + kernel - left - states.shape[1]
    x = zero_beyond(states, lengths).transpose(1, 2)
    return conv(functional.pad(x, (left, right))).transpose(1, 2), -(-lengths // stride)


class Conv(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        hidden = config.hidden or in_dim
        widths = [in_dim] + [hidden] * config.layers
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, config.kernel, config.stride)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(hidden, out_dim)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        for conv in self.convs:
            states, lengths = convolve(conv, states, lengths)
            states = self.dropout(functional.gelu(states))
        return self.norm(self.linear(states)), lengths
