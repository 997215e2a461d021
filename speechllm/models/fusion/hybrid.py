"""NVLM-H: a picture's thumbnail among the text, its tiles seen by gated cross-attention.

Of the soft tokens of a medium the last `thumbnail` take text positions, as in `interleave`; those
before them (the tiles of the front end `nvlm`, whose thumbnail stands last) are seen from its first
position on, as in `cross_attention`, whose settings these are besides. So details cost the LLM no
positions, and what matters most is read by self-attention. A medium of no more than `thumbnail`
soft tokens (a picture that is one tile, a sound) is read among the text alone.

Paper: NVLM, arXiv 2409.11402, section 4.3.
"""

import dataclasses

import torch

from speechllm.models.fusion import _slots, cross_attention
from speechllm.models.fusion._media import Media
from speechllm.models.fusion.interleave import put
from speechllm.ranges import Width


@dataclasses.dataclass(frozen=True)
class Config(cross_attention.Config):
    """Settings. thumbnail: soft tokens of a thumbnail; the others: `cross_attention.Config`."""

    thumbnail: Width = 256

    def count(self, n):
        """Give the text positions that a medium of n soft tokens takes: at most a thumbnail's."""
        return n - (n > self.thumbnail) * (n - self.thumbnail)

    def build(self) -> "Hybrid":
        """Make the fusion; its layers come with `attach`."""
        return Hybrid(self)


class Hybrid(cross_attention.CrossAttention):
    """See the module docstring; what `join` joined last is what the LLM sees from then on."""

    def attach(self, llm) -> None:
        """Make the layers for an LLM, once; see `CrossAttention.attach`."""
        super().attach(llm)
        self.place = None  # a medium's positions hold soft tokens

    def join(self, embeddings, tokens, slots, segments=None):
        """Put thumbnails into their slots, and let the LLM see the tiles.

        Args:
            embeddings: (B, S, H) of text, anything at the slots.
            tokens: (M, K, H).
            slots: (M, 3) int64 rows of row, start, count: of soft tokens, all of a medium's.
            segments: (B, S), the number of each position's example; None: a row is one example.

        Returns:
            (B, S, H).

        Raises:
            ValueError: tokens and slots of different number, a count above K.
        """
        _slots.check(tokens, slots)
        self._media = None
        if not len(slots):
            return embeddings
        if segments is None:
            segments = torch.ones(embeddings.shape[:2], dtype=torch.long, device=slots.device)
        row, start, count = slots.unbind(1)
        near = self.count(count)
        far = count - near
        if far.any():
            seen, size = torch.stack([row, start, far], 1), int(far.max())
            self._media = Media.of(tokens[:, :size], seen, segments, self.config.sees)
        # the thumbnail's own soft tokens, the last ones of each medium, moved to the front
        steps = far[:, None] + torch.arange(int(near.max()), device=far.device)
        index = steps.clamp(max=tokens.shape[1] - 1)[..., None].expand(-1, -1, tokens.shape[-1])
        return put(embeddings, tokens.gather(1, index), torch.stack([row, start, near], 1))
