"""Frame stacking and a two-layer perceptron: the projector of SLAM-ASR.

`stack` neighbouring encoder steps become one vector, which goes through Linear, an activation and
Linear to the LLM's width: (B, L, D) -> (B, K, H), K = L / stack.
Paper: SLAM-ASR, arXiv 2402.08846 (stack 5, hidden 2048, ReLU, no norm).
"""

import dataclasses

from torch import nn

from speechllm.models.adapters import _mlp, _norm, _stack
from speechllm.ranges import Size, Width

# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"stack": 3, "rest": "pad", "norm": "none", "activation": "gelu", "bias": False},
)


@dataclasses.dataclass(frozen=True)
class Config(_stack.Config):
    """Settings of the frame-stacking adapter.

    hidden: width between the two Linears. activation: "relu", "gelu" or "silu". bias: whether the
    Linears have one. stack, rest, norm, norm_scale: `_stack.Config`.
    """

    stack: Width = 5
    hidden: Size = 2048
    activation: str = "relu"
    bias: bool = True

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.hidden < 1:
            raise ValueError(f"hidden must be 1 or more, got {self.hidden}")
        _mlp.check(self.activation)
        super().__post_init__()

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Linear(self, in_dim, embedding.embedding_dim)


class Linear(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.linear1 = nn.Linear(in_dim * config.stack, config.hidden, bias=config.bias)
        self.activation = _mlp.ACTIVATIONS[config.activation]()
        self.linear2 = nn.Linear(config.hidden, out_dim, bias=config.bias)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        stacks = _stack.stacked(states, lengths, self.config.stack, self.config.rest).flatten(2)
        tokens = self.norm(self.linear2(self.activation(self.linear1(stacks))))
        return tokens, self.config.count(lengths)
