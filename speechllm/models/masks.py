"""Masks from lengths, so that what lies beyond an utterance's end never reaches a result."""

import torch


def valid_mask(lengths, size: int):
    """Say which of `size` steps are valid: lengths (B,) -> bool (B, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def zero_beyond(x, lengths):
    """Set x (B, T) or (B, T, F) to 0 beyond `lengths` (B,), whatever stood there, NaN included."""
    mask = valid_mask(lengths, x.shape[1])
    return x.masked_fill(~mask.reshape(mask.shape + (1,) * (x.dim() - 2)), 0.0)
