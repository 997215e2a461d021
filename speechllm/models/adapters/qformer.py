"""The Q-Former of BLIP-2: a fixed number of queries reads the whole utterance.

(B, L, D) -> (B, K, H), K = `queries`, whatever the length. The Q-Former is transformers' own, a
Linear brings it to the LLM's width. Paper: BLIP-2, arXiv 2301.12597 (the defaults, norm "none").
"""

import dataclasses

from torch import nn

from speechllm.models.adapters import _norm, _qformer
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import BelowOne, Layers, Size, Width

# Settings to try in tests, small enough for them.
SMALL = {"hidden": 32, "heads": 4, "layers": 3}
TINY = (SMALL, {**SMALL, "queries": 3, "cross_every": 1, "norm": "none"})


@dataclasses.dataclass(frozen=True)
class Config(_norm.Config):
    """Settings of the Q-Former.

    queries: soft tokens of an utterance. hidden, heads, layers: of the Q-Former; its inner width is
    4 * hidden. cross_every: every n-th layer, from the first, looks at the encoder.
    dropout: everywhere in it.
    norm, norm_scale: of the last norm (`_norm.Config`).
    """

    queries: Width = 32
    hidden: Size = 768
    heads: Size = 12
    layers: Layers = 12
    cross_every: Width = 2
    dropout: BelowOne = 0.1

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        _qformer.check(self.queries, self.hidden, self.heads, self.layers)
        if self.cross_every < 1:
            raise ValueError(f"cross_every must be 1 or more, got {self.cross_every}")
        super().__post_init__()

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return (0 < n) * self.queries

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return QFormer(self, in_dim, embedding.embedding_dim)


class QFormer(_norm.Adapter):
    """See the module docstring."""

    def __init__(self, config: Config, in_dim: int, out_dim: int):
        super().__init__(config)
        self.queries = _qformer.Queries(in_dim, config, every=config.cross_every)
        self.linear = nn.Linear(config.hidden, out_dim)
        self.norm = config.last(out_dim)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        valid = valid_mask(lengths, states.shape[1])
        read = self.queries(zero_beyond(states, lengths), valid)
        return self.norm(self.linear(read)), self.config.count(lengths)
