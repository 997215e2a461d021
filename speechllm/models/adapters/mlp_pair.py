"""Two perceptrons: which of them reads a medium depends on what else stands in its example.

(B, L, D) -> (B, K, H), as `mlp`, whose settings these are. Phi-4-multimodal (arXiv 2503.01743) has
one projector for speech alone and another for speech beside pictures.
"""

import dataclasses

import torch
from torch import nn

from speechllm.data.batch import MEDIA
from speechllm.models.adapters import mlp

# Settings to try in tests, small enough for them.
TINY = ({"beside": ("image",)}, {"beside": ("image",), "layers": 1, "stack": 2, "rest": "pad"})
UNREACHED = "second"  # nothing stands beside what is tried


@dataclasses.dataclass(frozen=True)
class Config(mlp.Config):
    """Settings.

    beside: kinds of media; what stands with one of these in an example is read by the second
    perceptron. The others: `mlp.Config`.
    """

    beside: tuple[str, ...] = ("image",)

    def __post_init__(self):
        """Refuse media that there are not."""
        if not self.beside or set(self.beside) - set(MEDIA):
            raise ValueError(f"beside: wanted some of {', '.join(MEDIA)}, got {self.beside}")
        super().__post_init__()

    def build(self, in_dim: int, embedding: nn.Embedding) -> nn.Module:
        """Make the adapter from encoder width D to the LLM's embeddings (V, H)."""
        return Pair(self, super().build(in_dim, embedding), super().build(in_dim, embedding))


class Pair(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, first: mlp.MLP, second: mlp.MLP):
        super().__init__()
        self.config, self.first, self.second = config, first, second

    def match(self, embeddings) -> None:
        """Let soft tokens start at the scale of the LLM's embeddings (V, H)."""
        self.first.match(embeddings)
        self.second.match(embeddings)

    def forward(self, states, lengths, beside=None):
        """Map states (B, L, D), lengths (B,) to soft tokens (B, K, H), lengths (B,).

        beside: (B,) bool, which of them are for the second perceptron; None: none.
        """
        if beside is None or not beside.any():
            return self.first(states, lengths)
        if beside.all():
            return self.second(states, lengths)
        (one, counts), (two, _) = self.first(states, lengths), self.second(states, lengths)
        return torch.where(beside[:, None, None], two, one), counts

    def places(self, places, lengths):
        """Say where each soft token stands, (B, K, 3): where the first of its states does."""
        return self.first.places(places, lengths)
