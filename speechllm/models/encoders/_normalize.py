"""Normalising features (B, T, F) over the valid frames of each utterance, inside an encoder."""

import torch

from speechllm.models.masks import zero_beyond


def normalize_utterance(x, lengths, eps: float = 1e-5):
    """Bring each feature of x (B, T, F), zero beyond `lengths`, to mean 0 and variance 1.

    Statistics are over the valid frames of each utterance; padding stays zero.
    """
    n = lengths.clamp(min=1)[:, None, None]
    centred = zero_beyond(x - x.sum(1, keepdim=True) / n, lengths)
    variance = centred.square().sum(1, keepdim=True) / n
    return centred * torch.rsqrt(variance + eps)


def normalize_nemo(x, lengths, eps: float = 1e-5):
    """Bring each feature to mean 0 and variance 1 as NeMo and published FastConformers do.

    Shapes as above; the variance is that of n - 1 frames, and eps is added to the deviation.
    """
    n = lengths.clamp(min=1)[:, None, None]
    centred = zero_beyond(x - x.sum(1, keepdim=True) / n, lengths)
    variance = centred.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)
    return centred / (variance.sqrt() + eps)


def normalize_level(x, lengths, eps: float = 1e-5):
    """Bring all features of an utterance together to mean 0 and variance 1; shapes as above.

    The mean spectrum of a word of half a second is most of what was said; taking it away, as
    `normalize_utterance` does, leaves too little. Its level goes all the same.
    """
    n = lengths.clamp(min=1)[:, None, None] * x.shape[2]
    centred = zero_beyond(x - x.sum((1, 2), keepdim=True) / n, lengths)
    variance = centred.square().sum((1, 2), keepdim=True) / n
    return centred * torch.rsqrt(variance + eps)


NORMALIZE = {
    "utterance": normalize_utterance,
    "level": normalize_level,
    "nemo": normalize_nemo,
    "none": lambda x, lengths: x,
}
