"""Masks from lengths, so that what lies beyond an utterance's end never reaches a result."""

import torch


def valid_mask(lengths, size: int):
    """Say which of `size` steps are valid: lengths (B,) -> bool (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def zero_beyond(x, lengths, dim: int = 1):
    """Set x (B, T), (B, T, F), ... to 0 beyond `lengths` (B,), whatever stood there, NaN included.

    `dim` is that of the steps T: 2 for channels first, (B, C, T) or (B, C, T, F).
    """
    mask = valid_mask(lengths, x.shape[dim])
    shape = [len(x), *[1] * (dim - 1), x.shape[dim], *[1] * (x.dim() - dim - 1)]
    return x.masked_fill(~mask.reshape(shape), 0.0)


def mean_at(x, lengths, mask):
    """Put the mean of an utterance's valid steps where `mask` (B, L) says: (B, L, D)."""
    means = zero_beyond(x, lengths).sum(1, keepdim=True) / lengths[:, None, None]
    return torch.where(mask.unsqueeze(-1), means.to(x.dtype), x)
