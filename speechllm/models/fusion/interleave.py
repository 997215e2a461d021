"""Soft tokens take the place of placeholder positions among the text embeddings.

Any number of media, anywhere, over several turns: S text positions already hold the slots, so
nothing moves, and positions and masks stay what the collate made them.
"""

import dataclasses

import torch

from speechllm.models.fusion import _slots


@dataclasses.dataclass(frozen=True)
class Config:
    """Interleaving has no settings."""

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: as many."""
        return n

    def build(self) -> "Interleave":
        """Make the fusion."""
        return Interleave(self)


class Interleave:
    """Stateless; the LLM stays as it is."""

    def __init__(self, config: Config):
        self.count = config.count

    def attach(self, llm) -> None:
        """Do nothing: soft tokens enter through the input embeddings."""

    def join(self, embeddings, tokens, slots, segments=None):
        """Put the first `count` soft tokens of media m at (row, start) of slots[m].

        Args:
            embeddings: (B, S, H) of text, anything at the slots.
            tokens: (M, K, H).
            slots: (M, 3) int64 rows of row, start, count.
            segments: (B, S); each medium stands in its own example already.

        Returns:
            (B, S, H), a new tensor; gradients reach both embeddings and tokens.

        Raises:
            ValueError: tokens and slots of different number, a slot longer than its tokens.
        """
        _slots.check(tokens, slots)
        row, start, count = slots.unbind(1)
        step = torch.arange(tokens.shape[1], device=tokens.device)
        used = step < count[:, None]
        rows = row[:, None].expand_as(used)[used]
        columns = (start[:, None] + step)[used]
        return embeddings.index_put((rows, columns), tokens[used].to(embeddings.dtype))
