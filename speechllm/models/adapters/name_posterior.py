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
TINY = ({}, {"window": 4, "acoustic": True}, {"tied": True, "norm": "batch", "window": 4})


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the naming adapter.

    window: encoder steps a soft token, 0 for the whole utterance. norm: "batch" lets each dimension
    of the means have one scale, as states of a recogniser's lower layers want it; or "none".
    dropout: on them, before the head. tied: the head is a Linear to the LLM's width, and logits are
    products with its embeddings, which a large vocabulary wants. acoustic: add a Linear of the mean
    state, which starts at zero, so that the LLM can learn to hear what the posteriors do not say.
    """

    window: Size = 0
    norm: str = "none"
    dropout: BelowOne = 0.0
    tied: bool = False
    acoustic: bool = False

    def __post_init__(self):
        """Refuse a window of less than nothing, and a norm that does not exist."""
        if self.window < 0:
            raise ValueError(f"window: wanted 1 or more steps, or 0 for all, got {self.window}")
        if self.norm not in ("none", "batch"):
            raise ValueError(f"norm: wanted 'none' or 'batch', got {self.norm!r}")

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
        self.norm = nn.BatchNorm1d(in_dim) if config.norm == "batch" else None
        self.dropout = nn.Dropout(config.dropout)
        wide = embedding.embedding_dim if config.tied else embedding.num_embeddings
        self.head = nn.Linear(in_dim, wide)
        self.acoustic = nn.Linear(in_dim, embedding.embedding_dim) if config.acoustic else None
        if self.acoustic is not None:
            nn.init.zeros_(self.acoustic.weight)
            nn.init.zeros_(self.acoustic.bias)
        self._embedding = (embedding,)  # in a tuple, so that it is no part of this module

    def name_logits(self, states, lengths):
        """Logits (B, V) of what states (B, L, D) of lengths (B,) are called as a whole."""
        heard = means(states, lengths, 0).squeeze(1)
        return self._logits(heard if self.norm is None else self.norm(heard))

    def token_logits(self, states, lengths):
        """Logits (B, K, V) of what each window of states (B, L, D) is called, and lengths (B,)."""
        heard = means(states, lengths, self.config.window)
        return self._logits(self._settled(heard)), self.config.count(lengths)

    def _logits(self, heard):
        """Logits (..., V) of means (..., D) after the norm."""
        scores = self.head(self.dropout(heard))
        if not self.config.tied:
            return scores
        table = self._embedding[0].weight.detach()
        return scores.to(table.dtype) @ table.T

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        (embedding,) = self._embedding
        heard = means(states, lengths, self.config.window)
        shares = self._logits(self._settled(heard)).float().softmax(-1)
        # in the table's own precision: a float32 copy of it would be larger than all else here
        tokens = (shares.to(embedding.weight.dtype) @ embedding.weight).float()
        tokens = tokens * getattr(embedding, "embed_scale", 1.0)  # Gemma scales its own
        if self.acoustic is not None:
            tokens = tokens + self.acoustic(heard).float()
        return tokens, self.config.count(lengths)

    def _settled(self, heard):
        """The norm as it has been learned: padded windows (B, K, D) are no part of its batches."""
        if self.norm is None:
            return heard
        flat, norm = heard.flatten(0, 1), self.norm
        known = norm.running_mean, norm.running_var, norm.weight, norm.bias
        return nn.functional.batch_norm(flat, *known, eps=norm.eps).view_as(heard)


def means(states, lengths, window: int):
    """Mean of the valid states of each window: (B, L, D) -> (B, K, D); 0 takes all in one."""
    window = window or states.shape[1]
    groups = _stack.stacked(states, lengths, window, "pad")
    before = torch.arange(groups.shape[1], device=lengths.device) * window
    there = (lengths[:, None] - before).clamp(1, window)
    return groups.sum(2) / there.unsqueeze(-1)
