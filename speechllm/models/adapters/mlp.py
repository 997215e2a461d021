"""A perceptron of any depth, a Linear to begin with, over each step or each stack of steps.

(B, L, D) -> (B, K, H), K = L / stack. With other settings it is the projector of
- Canary-Qwen, LLaVA: layers 1
- Audio Flamingo 3 (arXiv 2507.08128), after its pooling encoder; Phi-4-multimodal (arXiv
  2503.01743); LLaVA-1.5: the defaults, norm "none"
- Voxtral (arXiv 2507.13264): stack 4, bias false, norm "none"
- Qwen2-VL (arXiv 2409.12191), after blocks of 2 x 2 patches: stack 4, input_norm, norm "none".
"""

import dataclasses

from torch import nn

from speechllm.models.adapters import _mlp, _norm, _stack
from speechllm.models.masks import zero_beyond
from speechllm.ranges import MaybeLayers, Size

# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"layers": 1, "stack": 4, "rest": "pad", "norm": "layer"},
    {"layers": 1, "stack": 2, "input_norm": True},
    {"layers": 3, "hidden": 24, "stack": 4, "activation": "silu", "bias": False},
)


@dataclasses.dataclass(frozen=True)
class Config(_stack.Config):
    """Settings of the perceptron.

    layers: how many Linears, 0: states are as wide as soft tokens already. hidden: width between
    them, 0 for the LLM's width. activation: "relu", "gelu" or "silu". bias: whether the Linears
    have one. input_norm: with a LayerNorm over each state before them.
    stack, rest, norm, norm_scale: `_stack.Config`.
    """

    layers: MaybeLayers = 2
    hidden: Size = 0
    activation: str = "gelu"
    bias: bool = True
    input_norm: bool = False

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        if self.layers < 0 or self.hidden < 0:
            raise ValueError(
                f"wanted layers >= 0 and hidden >= 0, got layers {self.layers}, "
                f"hidden {self.hidden}"
            )
        _mlp.check(self.activation)
        super().__post_init__()

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H).

        Raises:
            ValueError: no layers, and states of another width.
        """
        _mlp.check_width(self.layers, in_dim * self.stack, embedding.embedding_dim, "mlp")
        return MLP(self, in_dim, embedding.embedding_dim)


class MLP(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.before = nn.LayerNorm(in_dim, eps=1e-6) if config.input_norm else nn.Identity()
        widths = _mlp.widths(config.layers, in_dim * config.stack, config.hidden, out_dim)
        self.mlp = _mlp.perceptron(widths, config.activation, config.bias)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        states = self.before(zero_beyond(states, lengths))
        stacks = _stack.stacked(states, lengths, self.config.stack, self.config.rest).flatten(2)
        return self.norm(self.mlp(stacks)), self.config.count(lengths)

    def places(self, places, lengths):
        """Say where each soft token stands, (B, K, 3): where the first of its states does."""
        size = int(self.config.count(lengths).max())
        return places[:, :: self.config.stack][:, :size]
