"""Soft tokens for cross-attention: in their rows, with who sees them, keys and values kept.

B rows, S text positions, R media a row at most, K soft tokens a medium, H the LLM's width.
"""

import dataclasses
from functools import cached_property

import torch

from speechllm.models.masks import valid_mask, zero_beyond

BY_ROW = ("states", "valid", "starts", "inside", "groups", "segments")


@dataclasses.dataclass
class Pair:
    """Keys and values of one layer."""

    keys: torch.Tensor
    values: torch.Tensor


class Kept:
    """Keys and values of the soft tokens, computed once a join: what Mllama asks of a cache."""

    def __init__(self):
        self.layers = {}

    def update(self, keys, values, layer_idx: int):
        """Keep one layer's."""
        self.layers[layer_idx] = Pair(keys, values)
        return keys, values

    def take(self, rows) -> "Kept":
        """Keep these rows (n,)."""
        kept = Kept()
        kept.layers = {k: Pair(p.keys[rows], p.values[rows]) for k, p in self.layers.items()}
        return kept


@dataclasses.dataclass
class Media:
    """Soft tokens in their rows, R media a row at most, and who sees them.

    states: (B, R, K, H). valid: (B, R, K). starts: (B, R), the column that sees it first.
    inside: (B, R), the medium's segment, -1 where there is none. groups: (B, R), media of one
    number are seen together, until one of the next number begins. segments: (B, S).
    """

    states: torch.Tensor
    valid: torch.Tensor
    starts: torch.Tensor
    inside: torch.Tensor
    groups: torch.Tensor
    segments: torch.Tensor
    kept: Kept = dataclasses.field(default_factory=Kept)

    @classmethod
    def of(cls, tokens, slots, segments, sees: str) -> "Media":
        """Bring tokens (M, K, H) into their rows, in the order in which they stand there."""
        # Slots (row, start, count) say where each medium stands in the text. The order of a medium
        # in its row is how many of the same row start before it:
        #
        #     slots (0, 3, 2), (1, 5, 4), (0, 9, 1)    rows 0 and 1 hold two media and one
        #     order       0          0          1      so R is 2, and (1, 1) stays empty
        row, start, count = slots.unbind(1)
        order = ((row == row[:, None]) & (start < start[:, None])).sum(1)
        rows, media, size = len(segments), int(order.max()) + 1, tokens.shape[1]
        place = (row, order)
        tokens, valid = zero_beyond(tokens, count), valid_mask(count, size)
        starts = start.new_zeros(rows, media).index_put(place, start)
        return cls(
            states=tokens.new_zeros(rows, media, *tokens.shape[1:]).index_put(place, tokens),
            valid=valid.new_zeros(rows, media, size).index_put(place, valid),
            starts=starts,
            # -1 is no segment of the text, so nobody sees what is not there
            inside=start.new_full((rows, media), -1).index_put(place, segments[row, start]),
            groups=_groups(starts, sees),
            segments=segments,
        )

    def read(self, layer, hidden):
        """Let hidden states (B, S, H) look through a cross-attention layer.

        Beams stand side by side: n times B rows are n copies of each row. S as joined or more: all
        positions; fewer: those after, whose text comes from the cache.
        """
        # A position before the first medium of its row sees nothing. Softmax over nothing is not a
        # number, so it gets to see everything and its result is thrown away at the end.
        media = self.of_rows(len(hidden))
        mask = media.mask(hidden.shape[1])
        seen = mask.any(-1, keepdim=True)
        kept = None if torch.is_grad_enabled() else media.kept
        known = kept is not None and layer.layer_idx in kept.layers
        dtype = layer.input_layernorm.weight.dtype
        out = layer(
            hidden.to(dtype),
            cross_attention_states=None if known else media.states.flatten(1, 2).to(dtype),
            cross_attention_mask=(mask | ~seen)[:, None],
            attention_mask=None,
            full_text_row_masked_out_mask=None,
            past_key_values=kept,
        )
        return torch.where(seen, out.to(hidden.dtype), hidden)

    def mask(self, n: int):
        """Say which soft tokens each of n positions sees: (B, n, R * K)."""
        if n not in self._masks:
            # starts 2, 5 (two media of one example), columns 0 to 6:
            #
            #     seen, medium 0    0 0 1 1 1 1 1     from its start on, in its own segment
            #     seen, medium 1    0 0 0 0 0 1 1
            #     groups 0, 1       0 0 1 1 1 0 0     a medium until the next group begins: only the
            #                       0 0 0 0 0 1 1     greatest number that is seen stays
            size = self.segments.shape[1]
            columns = torch.arange(n, device=self.starts.device) + (0 if n >= size else size)
            segments = self.segments[:, columns.clamp(max=size - 1)]
            seen = (self.starts[:, None] <= columns[:, None]) & (
                self.inside[:, None] == segments[:, :, None]
            )
            groups = self.groups[:, None].expand_as(seen)
            seen &= groups == groups.masked_fill(~seen, -1).amax(2, keepdim=True)
            self._masks.clear()  # all layers ask for the same n, one after the other
            self._masks[n] = (seen.unsqueeze(-1) & self.valid[:, None]).flatten(2)
        return self._masks[n]

    @cached_property
    def _masks(self) -> dict:
        return {}

    @cached_property
    def _copies(self) -> dict:
        return {}

    def of_rows(self, rows: int) -> "Media":
        """Give the media of `rows` rows, a multiple of B.

        Raises:
            ValueError: another number of rows.
        """
        times, rest = divmod(rows, len(self.segments))
        if rest:
            raise ValueError(
                f"media were joined for {len(self.segments)} rows, but the LLM is given {rows}; "
                "join what it reads, with no media where there are none"
            )
        if times == 1:
            return self
        if times not in self._copies:
            copies = {k: getattr(self, k).repeat_interleave(times, 0) for k in BY_ROW}
            self._copies[times] = dataclasses.replace(self, **copies, kept=Kept())
        return self._copies[times]

    def take(self, rows) -> "Media":
        """Give the media of these rows (n,), keys and values with them."""
        taken = {k: getattr(self, k)[rows] for k in BY_ROW}
        return dataclasses.replace(self, **taken, kept=self.kept.take(rows))


def _groups(starts, sees: str):
    """Number the media of each row (B, R) by the groups in which they are seen."""
    if sees == "all":
        return torch.zeros_like(starts)
    if sees == "last":
        return torch.ones_like(starts).cumsum(1)
    begins = starts.diff(dim=1, prepend=starts[:, :1]) != 1  # "run": not right behind another one
    return begins.long().cumsum(1)
