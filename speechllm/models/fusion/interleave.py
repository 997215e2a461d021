"""Soft tokens take the place of placeholder positions among the text embeddings.

Any number of media, anywhere, over several turns: S text positions already hold the slots, so
nothing moves, and positions and masks stay what the collate made them. With `sections` the LLM's
rotary positions have three parts, and a picture's soft tokens stand in rows and columns (`_mrope`).
"""

import dataclasses

import torch

from speechllm.models.fusion import _mrope, _slots


@dataclasses.dataclass(frozen=True)
class Config:
    """sections: of M-RoPE, pairs of a head's channels for time, row and column; empty: none."""

    sections: tuple[int, ...] = ()

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: as many."""
        return n

    def build(self) -> "Interleave":
        """Make the fusion."""
        return Interleave(self)


class Interleave:
    """Stateless but for M-RoPE; the LLM stays as it is."""

    def __init__(self, config: Config):
        self.count = config.count
        self.mrope = _mrope.MRope(config.sections) if config.sections else None

    @property
    def placed(self) -> bool:
        """Whether `join` wants to know where in their pictures soft tokens stand."""
        return self.mrope is not None

    def attach(self, llm) -> None:
        """Soft tokens enter through the input embeddings; M-RoPE stands in the LLM."""
        if self.mrope:
            self.mrope.attach(llm)

    def join(self, embeddings, tokens, slots, segments=None, places=None):
        """Put the first `count` soft tokens of media m at (row, start) of slots[m].

        Args:
            embeddings: (B, S, H) of text, anything at the slots.
            tokens: (M, K, H).
            slots: (M, 3) int64 rows of row, start, count.
            segments: (B, S); each medium stands in its own example already.
            places: (M, K, 3) of soft tokens, for M-RoPE.

        Returns:
            (B, S, H), a new tensor; gradients reach both embeddings and tokens.

        Raises:
            ValueError: tokens and slots of different number, a slot longer than its tokens.
        """
        _slots.check(tokens, slots)
        if self.mrope and len(slots):
            self.mrope.join(slots, segments, places)
        elif self.mrope:
            self.mrope.forget()
        return put(embeddings, tokens, slots)


def put(embeddings, tokens, slots):
    """Put the first `count` soft tokens (M, K, H) of each medium at its slot: see `join`."""
    row, start, count = slots.unbind(1)
    step = torch.arange(tokens.shape[1], device=tokens.device)
    used = step < count[:, None]
    rows = row[:, None].expand_as(used)[used]
    columns = (start[:, None] + step)[used]
    return embeddings.index_put((rows, columns), tokens[used].to(embeddings.dtype))
