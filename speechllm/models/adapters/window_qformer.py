"""A Q-Former that reads window after window: few queries a window, so tokens keep their order.

(B, L, D) -> (B, K, H), K = windows * queries. The Q-Former is BLIP-2's as transformers has it, with
cross-attention in each layer, a Linear brings it to the LLM's width.
Papers: SALMONN, arXiv 2310.13289 (the defaults: 17 states of 20 ms a window, norm "none"); Granite
speech, arXiv 2505.08699 (window 15, queries 3, hidden 1024, heads 16, rest "pad", norm "none").
"""

import dataclasses

from torch import nn

from speechllm.models.adapters import _norm, _qformer, _stack
from speechllm.ranges import BelowOne, Layers, Size, Width

# Settings to try in tests, small enough for them.
SMALL = {"hidden": 32, "heads": 4}
TINY = (SMALL, {**SMALL, "window": 15, "queries": 3, "rest": "pad", "norm": "none"})
# Parameters that the LLM's loss may not reach: a single query looks at itself alone, with weight 1,
# whatever its query and key are.
UNREACHED = r".*\.attention\.attention\.(query|key)\."


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the window-level Q-Former.

    window: encoder steps of each. queries: soft tokens of each. hidden, heads, layers: of the
    Q-Former; its inner width is 4 * hidden. dropout: everywhere in it.
    rest: what becomes of the last, incomplete window: "drop" leaves it out, "pad" fills it with
    zeros. An utterance shorter than one window is always padded, so that it has soft tokens.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    window: Size = 17
    queries: Width = 1
    hidden: Size = 768
    heads: Size = 12
    layers: Layers = 2
    dropout: BelowOne = 0.1
    rest: str = "drop"

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        _stack.check(self.window, self.rest)
        _qformer.check(self.queries, self.hidden, self.heads, self.layers)
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return _stack.count(n, self.window, self.rest) * self.queries

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return WindowQFormer(self, in_dim, embedding.embedding_dim)


class WindowQFormer(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.queries = _qformer.Queries(in_dim, config, every=1)
        self.linear = nn.Linear(config.hidden, out_dim)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        windows = _stack.stacked(states, lengths, self.config.window, self.config.rest)
        read = self.queries(windows.flatten(0, 1))
        read = read.reshape(len(states), -1, self.config.hidden)
        return self.norm(self.linear(read)), self.config.count(lengths)
