"""M-RoPE: the LLM's rotary positions in three parts, time, row and column, as in Qwen2-VL.

Text counts all three on together. A picture's soft tokens stand at the time at which it begins, and
at their rows and columns counted from there; text goes on behind the larger of its sides:

    text a b, picture of 2 x 3, text c      time     0 1  2 2 2 2 2 2  5
                                            row      0 1  2 2 2 3 3 3  5
                                            column   0 1  2 3 4 2 3 4  5

Media whose places nobody knows count like text. Paper: Qwen2-VL, arXiv 2409.12191.
"""

import dataclasses

import torch

from speechllm.data.batch import positions_of
from speechllm.models import held


@dataclasses.dataclass
class Table:
    """Positions (3, B, S) of what was joined, and what to add to (B,) those that follow."""

    three: torch.Tensor
    later: torch.Tensor

    def take(self, rows) -> "Table":
        """Keep these rows (n,)."""
        return Table(self.three[:, rows], self.later[rows])

    def at(self, positions):
        """Give (3, N, n) for positions (N, n) of the text: all that was joined, or what follows."""
        times = len(positions) // self.three.shape[1]
        if positions.shape[1] >= self.three.shape[2]:
            return self.three.repeat_interleave(times, 1)
        later = positions + self.later.repeat_interleave(times)[:, None]
        return later.expand(3, -1, -1)


class MRope:
    """Stands behind the rotary embedding of an LLM.

    sections: pairs of a head's channels that are turned by time, row and column.
    """

    HELD = "_table"

    def __init__(self, sections: tuple[int, ...]):
        self.sections = sections
        self._table = None

    def attach(self, llm) -> None:
        """Stand behind an LLM's rotary embedding.

        Raises:
            ValueError: it has none, or heads of another size.
        """
        text, rotary = llm.config.get_text_config(), getattr(llm.base_model, "rotary_emb", None)
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        if rotary is None or len(self.sections) != 3 or 2 * sum(self.sections) != size:
            raise ValueError(
                "[fusion] sections wants three numbers that make half of a head, and an LLM with "
                f"rotary positions, got {list(self.sections)}, heads of {size}, {text.model_type}"
            )
        rotary.register_forward_hook(self._turn, with_kwargs=True)
        held.add(llm, self)

    def join(self, slots, segments, places) -> None:
        """Count the positions of rows (B, S) whose slots (M, 3) hold soft tokens at places."""
        text = positions_of(segments)
        shift = torch.zeros(len(text), text.shape[1] + 1, dtype=torch.long, device=text.device)
        inside = []
        for (row, start, count), place in zip(slots.tolist(), places, strict=True):
            if not count or int(place[:count].min()) < 0:
                continue
            grid = torch.stack([_ranks(axis) for axis in place[:count].unbind(1)])
            inside.append((row, start, count, grid))
            after = segments[row, start + count :] == segments[row, start]
            by = int(grid[1:].max()) + 1 - count
            shift[row, start + count :][: len(after)] += by * after
            shift[row, -1] += by * bool(segments[row, start] == segments[row, -1])
        three = (text + shift[:, :-1]).repeat(3, 1, 1)
        for row, start, count, grid in inside:
            three[:, row, start : start + count] = three[:, row, start : start + 1] + grid
        self._table = Table(three, shift[:, -1])

    def forget(self) -> None:
        """Let positions be the text's own."""
        self._table = None

    def keep(self, rows) -> None:
        """Go on with these rows (n,): the others' answers have ended."""
        if self._table is not None:
            self._table = self._table.take(rows)

    def _turn(self, rotary, args, kwargs, out):
        """Give cosines and sines (N, n, size) of three positions in place of one."""
        if self._table is None:
            return None
        x, positions = (*args, *kwargs.values())[:2]
        axes = [rotary.forward(x, axis) for axis in self._table.at(positions)]
        return tuple(self._mixed([axis[i] for axis in axes]) for i in (0, 1))

    def _mixed(self, axes):
        """Take each section's channels from its axis; they stand twice, for either half."""
        parts = [axis.split(self.sections * 2, -1) for axis in axes]
        return torch.cat([parts[i % 3][i] for i in range(6)], -1)

    def __getstate__(self):
        """Leave out what was joined last."""
        return {**self.__dict__, "_table": None}


def _ranks(axis):
    """Number the values of a tensor (K,) from 0 on: rows 0 2 4 are 0 1 2."""
    return axis.unique(return_inverse=True)[1]
