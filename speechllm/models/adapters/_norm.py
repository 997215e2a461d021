"""The norm that stands last in most adapters: its settings, and the scale it starts from.

Soft tokens much larger than text embeddings drown the instruction; a norm whose weight starts at
the embeddings' own root mean square lets both start alike.
"""

import dataclasses

import torch
from torch import nn

from speechllm.ranges import NotNegative

KINDS = ("rms", "layer", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Settings that every adapter with a last norm has.

    norm: "rms", "layer" or "none". norm_scale: where its weight starts; 0 is the root mean square
    of the LLM's embeddings (`match`).
    """

    norm: str = "rms"
    norm_scale: NotNegative = 0.0

    def __post_init__(self):
        """Refuse a norm that does not exist."""
        if self.norm not in KINDS:
            raise ValueError(f"norm must be one of {', '.join(KINDS)}, got {self.norm!r}")
        if self.norm_scale < 0:
            raise ValueError(
                f"norm_scale must be 0 (as the LLM's embeddings) or more, got {self.norm_scale}"
            )

    def last(self, dim: int) -> "FinalNorm":
        """Make the norm over the LLM's width H."""
        return FinalNorm(self.norm, dim, self.norm_scale)


class Adapter(nn.Module):
    """An adapter that ends in `self.norm`, which it makes itself: parameters keep their order."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    def match(self, embeddings) -> None:
        """Let soft tokens start at the scale of the LLM's embeddings (V, H)."""
        self.norm.match(embeddings)


class FinalNorm(nn.Module):
    """RMSNorm, LayerNorm or nothing over the last dimension, with a learned scale.

    scale is where the weight starts, which is the root mean square of what comes out; 0 means
    1 until `match` sets it from an LLM's embeddings.
    """

    def __init__(self, kind: str, dim: int, scale: float):
        super().__init__()
        self.scale = scale
        norm = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}.get(kind)
        self.norm = norm(dim, eps=1e-6) if norm else None
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
