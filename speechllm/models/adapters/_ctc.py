"""CTC heads inside adapters, and steps grouped by what a head reads: dropped, or one soft token."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from speechllm.models import alphabet
from speechllm.models.adapters.conv import convolve
from speechllm.models.masks import valid_mask
from speechllm.ranges import BelowOne, Size, Width


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(alphabet.Config):
    """Settings of a head; see also `alphabet.Config`.

    convs, kernel: convolutions of the states before it, and their width in steps; 0: none.
    conv_dropout: after each of them, in training.
    """

    convs: Size = 0
    kernel: Width = 5
    conv_dropout: BelowOne = 0.0

    def head(self, in_dim: int, vocab_size: int) -> nn.Module:
        """Make the head, over states of width D: its units, then the blank."""
        units = self.size or vocab_size
        if not self.convs:
            return nn.Linear(in_dim, units + 1)
        return Convolved(in_dim, units + 1, self.convs, self.kernel, self.conv_dropout)


class Convolved(nn.Module):
    """LayerNorm, convolutions with GELU and a Linear: (B, L, D), (B,) -> (B, L, units + 1)."""

    def __init__(self, dim: int, out_dim: int, layers: int, kernel: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, kernel) for _ in range(layers))
        self.linear = nn.Linear(dim, out_dim)

    def forward(self, states, lengths, dropout: float = 0.0):
        """See the class; what lies beyond an utterance's end is not seen.

        dropout: stands in place of the head's own, and is at work in evaluation mode too.
        """
        x = self.norm(states)
        for conv in self.convs:
            x = functional.gelu(convolve(conv, x, lengths)[0])
            x = functional.dropout(x, dropout) if dropout else self.dropout(x)
        return self.linear(x)


class Speller(nn.Module):
    """What adapters with a CTC head have in common: the head, its units and their tokens."""

    def __init__(self, config: Config, in_dim: int, embedding: nn.Embedding):
        super().__init__()
        self.config = config
        self.head = config.head(in_dim, embedding.num_embeddings)
        self.alphabet = None if config.pieces else config.make()
        if config.size:
            units = torch.arange(config.size) % embedding.num_embeddings
            self.register_buffer("units", units)

    def spell(self, tokenizer) -> None:
        """Learn which token of the LLM each unit is.

        Raises:
            ValueError: it has none for one of them, or not as many.
        """
        self.alphabet = self.config.make(tokenizer)
        if self.alphabet:
            self.units.copy_(torch.tensor(self.alphabet.ids))

    def ctc_logits(self, states, lengths, dropout: float = 0.0):
        """Logits (B, L, units + 1) of states (B, L, D), the blank last.

        dropout: at work whatever the mode, as in `Convolved`; without convs on the states.
        """
        if self.config.convs:
            return self.head(states, lengths, dropout)
        return self.head(functional.dropout(states, dropout) if dropout else states)


def not_blank(blank, dropped, lengths):
    """Say which valid steps stay: those not `dropped` (B, L), or the least blank one of all.

    blank: (B, L) posteriors of the blank. lengths: (B,).
    """
    valid = valid_mask(lengths, blank.shape[1])
    kept = valid & ~dropped
    least = blank.masked_fill(~valid, 2.0).argmin(1, keepdim=True)
    # a row of blanks alone keeps one step: an utterance without a soft token could not be answered
    only = torch.arange(blank.shape[1], device=blank.device) == least
    return kept | (only & valid & ~kept.any(1, keepdim=True))


def groups(path, kept, merge: bool = True):
    """Say which soft token each step (B, L) goes into, and how many tokens a row has (B,).

    Neighbours of one label in `path` go together where `merge` says so. Steps that are dropped go
    to index K, one beyond the last.
    """
    # path     h h - i i      - is dropped
    # begins   1 0 0 1 0
    # number   1 1 1 2 2      less 1: tokens 0 0 . 1 1, and K (the most of any row) for the dropped
    begins = kept.clone()
    if merge:
        begins[:, 1:] &= ~(kept[:, :-1] & (path[:, 1:] == path[:, :-1]))
    number = begins.cumsum(1)
    counts = begins.sum(1)
    return torch.where(kept, number - 1, counts.max()), counts


def sums(x, index, counts):
    """Sum the steps of x (B, L, F) that share an index (B, L): (B, K, F)."""
    size = int(counts.max())
    # one place more than tokens: dropped steps are summed there, and the place is cut off
    out = x.new_zeros(len(x), size + 1, x.shape[-1])
    return out.scatter_add(1, index.unsqueeze(-1).expand_as(x), x)[:, :size]
