"""The norm that stands last in an adapter, and the scale it starts from.

Soft tokens much larger than text embeddings drown the instruction; a norm whose weight starts at
the embeddings' own root mean square lets both start alike.
"""

import torch
from torch import nn

KINDS = ("rms", "layer", "none")


def check(kind: str, scale: float) -> None:
    """Refuse a norm that does not exist.

    Raises:
        ValueError: an unknown kind, a negative scale.
    """
    if kind not in KINDS:
        raise ValueError(f"norm must be one of {', '.join(KINDS)}, got {kind!r}")
    if scale < 0:
        raise ValueError(f"norm_scale must be 0 (as the LLM's embeddings) or more, got {scale}")


class FinalNorm(nn.Module):
    """RMSNorm, LayerNorm or nothing over the last dimension, with a learned scale.

    scale is where the weight starts, which is the root mean square of what comes out; 0 means
    1 until `match` sets it from an LLM's embeddings.
    """

    def __init__(self, kind: str, dim: int, scale: float):
        super().__init__()
        self.scale = scale
        made = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}.get(kind)
        self.norm = made(dim, eps=1e-6) if made else None
        self._start(scale or 1.0)

    def forward(self, x):
        """Normalise x (..., H); in the weight's own precision under autocast."""
        return x if self.norm is None else self.norm(x.to(self.norm.weight.dtype))

    def match(self, embeddings) -> None:
        """Start from the root mean square of text embeddings (V, H), unless a scale was asked."""
        if not self.scale:
            with torch.no_grad():
                self._start(embeddings.float().square().mean().sqrt().item())

    def _start(self, scale: float) -> None:
        if self.norm is not None:
            nn.init.constant_(self.norm.weight, scale)
