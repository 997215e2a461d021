"""Soft tokens that spell: CTC posteriors times the LLM's own embeddings.

A head over the LLM's vocabulary plus blank says what each encoder step spells. Steps that are
mostly blank are dropped, neighbours that spell the same become one soft token, the mean of the
embeddings weighted by their posteriors; so soft tokens lie in the hull of text embeddings, and a
frozen LLM reads them from the first step. The head learns by CTC (objective `ctc` with
`on = "posterior"`), in the encoder's own stage.

(B, L, D) -> (B, K, H), K at most L: how many are left depends on what was said.
Papers: CTC, Graves et al. 2006; frames dropped by their posteriors, Gaido et al., arXiv 2102.01578.
"""

import dataclasses

import torch
from torch import nn

from speechllm.models.masks import valid_mask, zero_beyond


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the posterior adapter.

    blank_threshold: a step whose blank has this posterior or more is dropped. merge: neighbours
    that spell the same become one token. acoustic: add a Linear of the encoder's states, which
    starts at zero, so that the LLM can learn to hear what the posteriors do not say.
    """

    blank_threshold: float = 0.5
    merge: bool = True
    acoustic: bool = False

    drops = True  # tokens depend on the content: `count` is the most there can be

    def __post_init__(self):
        """Refuse a threshold that is no probability."""
        if not 0 < self.blank_threshold <= 1:
            raise ValueError(f"blank_threshold: wanted above 0, to 1, got {self.blank_threshold}")

    def count(self, n):
        """Give the most soft tokens that n encoder steps become; n may be a tensor of lengths."""
        return n

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return CTCPosterior(self, in_dim, embedding)


class CTCPosterior(nn.Module):
    """See the module docstring. The LLM's embeddings are looked at, they stay the LLM's own."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__()
        self.config = config
        self.head = nn.Linear(in_dim, embedding.num_embeddings + 1)
        self.acoustic = nn.Linear(in_dim, embedding.embedding_dim) if config.acoustic else None
        if self.acoustic is not None:
            nn.init.zeros_(self.acoustic.weight)
            nn.init.zeros_(self.acoustic.bias)
        self._embedding = (embedding,)  # in a tuple, so that it is no part of this module

    def ctc_logits(self, states):
        """Logits (B, L, V + 1) of states (B, L, D), the blank last."""
        return self.head(states)

    def forward(self, states, lengths):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,)."""
        (embedding,) = self._embedding
        states = zero_beyond(states, lengths)
        posteriors = self.ctc_logits(states).float().softmax(-1)
        spelled, blank = posteriors[..., :-1], posteriors[..., -1]
        table = embedding.weight * getattr(embedding, "embed_scale", 1.0)  # Gemma scales its own
        weights = spelled.sum(-1, keepdim=True)
        vectors = spelled @ table.float()
        if self.acoustic is not None:
            vectors = vectors + weights * self.acoustic(states).float()
        kept = self._kept(blank, lengths)
        index, counts = self._groups(spelled.argmax(-1), kept)
        sums = _sum(torch.cat([vectors, weights], -1), index, counts)
        return sums[..., :-1] / sums[..., -1:].clamp(min=1e-9), counts

    def _kept(self, blank, lengths):
        """Say which steps (B, L) become soft tokens; the least blank one where all are blank."""
        valid = valid_mask(lengths, blank.shape[1])
        kept = valid & (blank < self.config.blank_threshold)
        least = blank.masked_fill(~valid, 2.0).argmin(1, keepdim=True)
        only = torch.arange(blank.shape[1], device=blank.device) == least
        return kept | (only & valid & ~kept.any(1, keepdim=True))

    def _groups(self, path, kept):
        """Say which soft token each step (B, L) goes into, and how many tokens a row has (B,).

        Steps that are dropped go to index K, one beyond the last.
        """
        begins = kept.clone()
        if self.config.merge:
            begins[:, 1:] &= ~(kept[:, :-1] & (path[:, 1:] == path[:, :-1]))
        number = begins.cumsum(1)
        counts = begins.sum(1)
        return torch.where(kept, number - 1, counts.max()), counts


def _sum(x, index, counts):
    """Sum the steps of x (B, L, F) that share an index (B, L): (B, K, F)."""
    size = int(counts.max())
    out = x.new_zeros(len(x), size + 1, x.shape[-1])
    return out.scatter_add(1, index.unsqueeze(-1).expand_as(x), x)[:, :size]
