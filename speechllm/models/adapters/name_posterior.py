"""Soft tokens that name a sound: posteriors of a window times the LLM's own embeddings.

A head over the LLM's vocabulary says which of its tokens name what is heard in a window of encoder
steps, or in all of them; the soft token is the mean of those tokens' embeddings, weighted by their
posteriors. It lies in the hull of text embeddings, so an LLM that has read questions about sounds,
with their names written where a sound would stand, reads it from the first step. The head learns
by the objective `classification` with `on = "posterior"`; `ctc_posterior` is the same for speech.

(B, L, D) -> (B, K, H), K = L / window, rounded up; 1 with a window of 0.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.adapters import _stack
from speechllm.ranges import BelowOne, Size

# Settings to try in tests, small enough for them.
TINY = ({}, {"window": 4, "acoustic": True})


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the naming adapter.

    window: encoder steps a soft token, 0 for the whole utterance. dropout: on the means, before
    the head. acoustic: add a Linear of the mean state, which starts at zero, so that the LLM can
    learn to hear what the posteriors do not say.
    """

    window: Size = 0
    dropout: BelowOne = 0.0
    acoustic: bool = False

    def __post_init__(self):
        """Refuse a window of less than nothing."""
        if self.window < 0:
            raise ValueError(f"window: wanted 1 or more steps, or 0 for all, got {self.window}")

    def count(self, n):
        """Give the number of soft tokens K for n encoder steps; n may be a tensor of lengths."""
        return _stack.count(n, self.window, "pad") if self.window else (0 < n) * 1

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return NamePosterior(self, in_dim, embedding)


class NamePosterior(nn.Module):
    """See the module docstring. The LLM's embeddings are looked at, they stay the LLM's own."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(in_dim, embedding.num_embeddings)
        self.acoustic = nn.Linear(in_dim, embedding.embedding_dim) if config.acoustic else None
        if self.acoustic is not None:
            nn.init.zeros_(self.acoustic.weight)
            nn.init.zeros_(self.acoustic.bias)
        self._embedding = (embedding,)  # in a tuple, so that it is no part of this module

    def name_logits(self, states, lengths):
        """Logits (B, V) of what states (B, L, D) of lengths (B,) are called as a whole."""
        return self.head(self.dropout(means(states, lengths, 0).squeeze(1)))

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        (embedding,) = self._embedding
        table = embedding.weight * getattr(embedding, "embed_scale", 1.0)  # Gemma scales its own
        heard = means(states, lengths, self.config.window)
        tokens = self.head(self.dropout(heard)).float().softmax(-1) @ table.float()
        if self.acoustic is not None:
            tokens = tokens + self.acoustic(heard).float()
        return tokens, self.config.count(lengths)


def means(states, lengths, window: int):
    """Mean of the valid states of each window: (B, L, D) -> (B, K, D); 0 takes all in one."""
    window = window or states.shape[1]
    groups = _stack.stacked(states, lengths, window, "pad")
    before = torch.arange(groups.shape[1], device=lengths.device) * window
    there = (lengths[:, None] - before).clamp(1, window)
    return groups.sum(2) / there.unsqueeze(-1)
