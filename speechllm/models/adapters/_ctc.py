"""Encoder steps grouped by what a CTC head reads in them: dropped, or made one soft token."""

import torch

from speechllm.models.masks import valid_mask


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
