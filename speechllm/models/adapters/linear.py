"""Frame stacking and a two-layer perceptron: the projector of SLAM-ASR.

`stack` neighbouring encoder steps become one vector, which goes through Linear, an activation and
Linear to the LLM's width: (B, L, D) -> (B, K, H), K = L / stack.
Paper: SLAM-ASR, arXiv 2402.08846 (stack 5, hidden 2048, ReLU, no norm).
"""

import dataclasses

from torch import nn
from torch.nn import functional

from speechllm.models.adapters import _norm
from speechllm.models.masks import zero_beyond

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the frame-stacking adapter.

    stack: encoder steps a soft token. hidden: width between the two Linears.
    activation: "relu", "gelu" or "silu". bias: whether the Linears have one.
    rest: what becomes of the last, incomplete stack: "drop" leaves it out, "pad" fills it with
    zeros. An utterance shorter than one stack is always padded, so that it has a soft token.
    norm: "rms", "layer" or "none", last. norm_scale: where its weight starts; 0 is the root mean
    square of the LLM's embeddings (`match`).
    """

    stack: int = 5
    hidden: int = 2048
    activation: str = "relu"
    bias: bool = True
    rest: str = "drop"
    norm: str = "rms"
    norm_scale: float = 0.0

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.stack < 1 or self.hidden < 1:
            raise ValueError(f"stack and hidden must be 1 or more, got {self.stack}, {self.hidden}")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation must be one of {known}, got {self.activation!r}")
        if self.rest not in ("drop", "pad"):
            raise ValueError(f"rest must be 'drop' or 'pad', got {self.rest!r}")
        _norm.check(self.norm, self.norm_scale)

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        if self.rest == "pad":
            return -(-n // self.stack)
        return n // self.stack + (0 < n) * (n < self.stack)

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Linear(self, in_dim, embedding.embedding_dim)


class Linear(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__()
        self.config = config
        self.linear1 = nn.Linear(in_dim * config.stack, config.hidden, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]()
        self.linear2 = nn.Linear(config.hidden, out_dim, bias=config.bias)
        self.norm = _norm.FinalNorm(config.norm, out_dim, config.norm_scale)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        batch, steps, width = states.shape
        size = self.config.count(steps) * self.config.stack
        states = functional.pad(zero_beyond(states, lengths), (0, 0, 0, size - steps))
        stacks = states.reshape(batch, -1, self.config.stack * width)
        tokens = self.norm(self.linear2(self.activation(self.linear1(stacks))))
        return tokens, self.config.count(lengths)

    def match(self, embeddings) -> None:
        """Let soft tokens start at the scale of the LLM's embeddings (V, H)."""
        self.norm.match(embeddings)
