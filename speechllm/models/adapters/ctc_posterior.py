"""Soft tokens that spell: CTC posteriors times the LLM's own embeddings.

A head over the LLM's vocabulary, some of its pieces, or letters, plus blank says what each encoder
step spells. Steps that are mostly blank are dropped, neighbours that spell the same become one soft
token, the mean of the embeddings weighted by their posteriors; so soft tokens lie in the hull of
text embeddings, and a frozen LLM reads them from the first step. The head learns by CTC (objective
`ctc` with `on = "posterior"`), in a phase of its own.

(B, L, D) -> (B, K, H), K at most L: how many are left depends on what was said.
Papers: CTC, Graves et al. 2006; frames dropped by their posteriors, Gaido et al., arXiv 2102.01578.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _ctc
from speechllm.models.masks import zero_beyond
from speechllm.ranges import BelowOne

# Settings to try in tests, small enough for them.
TINY = (
    {},
    {"blank_threshold": 1.0, "merge": False},
    {"blank_threshold": 0.02, "acoustic": True},
    {"letters": " abc'", "convs": 2, "kernel": 3, "reading_dropout": 0.4},
)


@dataclasses.dataclass(frozen=True)
class Config(_ctc.Config):
    """Settings of the posterior adapter; see also `_ctc.Config`.

    blank_threshold: a step whose blank has this posterior or more is dropped. merge: neighbours
    that spell the same become one token. acoustic: add a Linear of the encoder's states, which
    starts at zero, so that the LLM can learn to hear what the posteriors do not say.
    reading_dropout: dropout in the head where soft tokens are made of it, in training, when the
    head itself may have ceased to learn. A head spells its own training set better than other
    speech; with this its mistakes there become those that an LLM will have to read.
    """

    blank_threshold: float = 0.5
    merge: bool = True
    acoustic: bool = False
    reading_dropout: BelowOne = 0.0

    drops = True  # tokens depend on the content: `count` is the most there can be

    def __post_init__(self):
        """Refuse a threshold that is no probability."""
        if not 0 < self.blank_threshold <= 1:
            raise ValueError(f"blank_threshold: wanted above 0, to 1, got {self.blank_threshold}")
        super().__post_init__()

    def count(self, n):
        """Give the most soft tokens that n encoder steps become; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return CTCPosterior(self, in_dim, embedding)


class CTCPosterior(_ctc.Speller):
    """See the module docstring. The LLM's embeddings are looked at, they stay the LLM's own."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__(config, in_dim, embedding)
        self.acoustic = nn.Linear(in_dim, embedding.embedding_dim) if config.acoustic else None
        if self.acoustic is not None:
            nn.init.zeros_(self.acoustic.weight)
            nn.init.zeros_(self.acoustic.bias)
        self._embedding = (embedding,)  # in a tuple, so that it is no part of this module

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        (embedding,) = self._embedding
        states = zero_beyond(states, lengths)
        dropout = self.config.reading_dropout if self.training else 0.0
        posteriors = self.ctc_logits(states, lengths, dropout).float().softmax(-1)
        spelled, blank = posteriors[..., :-1], posteriors[..., -1]
        table = embedding.weight[self.units] if self.config.size else embedding.weight
        table = table * getattr(embedding, "embed_scale", 1.0)  # Gemma scales its own
        weights = spelled.sum(-1, keepdim=True)
        vectors = spelled @ table.float()
        if self.acoustic is not None:
            vectors = vectors + weights * self.acoustic(states).float()
        kept = _ctc.not_blank(blank, blank >= self.config.blank_threshold, lengths)
        index, counts = _ctc.groups(spelled.argmax(-1), kept, self.config.merge)
        sums = _ctc.sums(torch.cat([vectors, weights], -1), index, counts)
        return sums[..., :-1] / sums[..., -1:].clamp(min=1e-9), counts
