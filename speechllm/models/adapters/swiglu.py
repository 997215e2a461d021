"""Frame stacking and a gated perceptron between norms: the projector of Ultravox.

`stack` neighbouring encoder steps become one vector, which goes through RMSNorm, a Linear to twice
`hidden`, SwiGLU (one half times SiLU of the other), RMSNorm and a Linear to the LLM's width, all
without bias: (B, L, D) -> (B, K, H), K = L / stack, rounded up.
Source: Ultravox's own projector (fixie-ai/ultravox; from v0.5 on with the defaults and norm "none",
before with middle false and norm_scale 0.4). SwiGLU: arXiv 2002.05202.
"""

import dataclasses

from torch import nn
from torch.nn import functional

from speechllm.models.adapters import _norm, _stack
from speechllm.ranges import AboveZero, Size, Width

# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"stack": 3, "hidden": 24, "rest": "drop", "middle": False, "norm_scale": 0.4},
)


@dataclasses.dataclass(frozen=True)
class Config(_stack.Config):
    """Settings of the gated adapter.

    hidden: width after the gate, where Ultravox's `hidden_size` is the width before it, twice as
    much. init: where the weights of the inner norms start. middle: the second norm stands between
    the gate and the last Linear. stack, rest, norm, norm_scale: `_stack.Config`.
    """

    stack: Width = 8
    hidden: Size = 2048
    init: AboveZero = 0.4
    middle: bool = True
    rest: str = "pad"

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.hidden < 1 or self.init <= 0:
            raise ValueError(
                f"wanted hidden >= 1 and init > 0, got hidden {self.hidden}, init {self.init}"
            )
        super().__post_init__()

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return SwiGLU(self, in_dim, embedding.embedding_dim)


class SwiGLU(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        width = in_dim * config.stack
        self.norm1 = _norm.FinalNorm("rms", width, config.init)
        self.linear1 = nn.Linear(width, 2 * config.hidden, bias=False)
        middle = "rms" if config.middle else "none"
        self.norm2 = _norm.FinalNorm(middle, config.hidden, config.init)
        self.linear2 = nn.Linear(config.hidden, out_dim, bias=False)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        stacks = _stack.stacked(states, lengths, self.config.stack, self.config.rest).flatten(2)
        value, gate = self.linear1(self.norm1(stacks)).chunk(2, dim=-1)
        tokens = self.linear2(self.norm2(value * functional.silu(gate)))
        return self.norm(tokens), self.config.count(lengths)
