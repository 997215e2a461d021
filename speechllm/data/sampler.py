"""Which examples make batch number b: a pure function of (seed, b), so resuming costs nothing.

Examples are sorted by length once and cut into buckets. A bucket's batch size follows from its
longest member, so the number of batches is the same in every epoch, and batch b of a run is known
without walking through those before it. In each epoch every bucket is permuted, and then the order
of the batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

QUADRATIC_S = 60.0  # length at which attention takes as long as the rest; costs are told by it


class Order:
    """The batches of a run by number; `batch(number)` -> (epoch, indices) says each at once."""

    def batches(self, first: int = 0, step: int = 1) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (batch number, epoch, indices) from batch `first` on, every `step`-th, for ever.

        Args:
            first: number of the first batch, counted over the whole run.
            step: number of processes, when each takes its share.
        """
        number = first
        while True:
            yield number, *self.batch(number)
            number += step


@dataclass(frozen=True)
class Sampler(Order):
    """Duration-bucketed batches.

    Attributes:
        lengths: (N,) length of each example, in seconds (or tokens for text).
        max_batch: longest member times number of members stays below this, same unit.
        max_rows: at most this many examples a batch.
        seed: seed of the order.
        shuffle: off for validation and decoding: longest first, the same in every epoch.
        block: so many batches, those of a step, cost about the same: processes that do one each end
            together.
    """

    lengths: np.ndarray
    max_batch: float
    max_rows: int = 256
    seed: int = 0
    shuffle: bool = True
    n_buckets: int = 20
    block: int = 1
    _buckets: list = field(init=False, repr=False)
    _plans: dict = field(default_factory=dict, init=False, repr=False)  # of the epoch last asked

    def __post_init__(self):
        if len(self.lengths) == 0:
            raise ValueError("no examples to make batches of: the manifest is empty")
        # equal lengths in any order but the manifest's, which may be one class after the other
        ties = np.random.default_rng(0).permutation(len(self.lengths))
        order = np.lexsort((ties, -np.asarray(self.lengths)))
        object.__setattr__(
            self, "_buckets", self._cut(order) if self.shuffle else self._fill(order)
        )

    def _size(self, longest: float) -> int:
        return int(np.clip(self.max_batch // max(longest, 1e-3), 1, self.max_rows))

    def _cut(self, order: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Cut into buckets of about equal number: (members, batch size) each."""
        parts = np.array_split(order, min(self.n_buckets, len(order)))
        return [(part, self._size(self.lengths[part[0]])) for part in parts]

    def _fill(self, order: np.ndarray) -> list[tuple[np.ndarray, int]]:
        """Fill batches one after the other: one bucket a batch."""
        buckets, start = [], 0
        while start < len(order):
            size = self._size(self.lengths[order[start]])
            buckets.append((order[start : start + size], size))
            start += size
        return buckets

    def __len__(self) -> int:
        """Number of batches in an epoch, the same in each."""
        return sum(-(-len(members) // size) for members, size in self._buckets)

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return the batches of an epoch: arrays of example indices."""
        rng = np.random.default_rng((self.seed, number))
        batches = []
        for members, size in self._buckets:
            chosen = rng.permutation(members) if self.shuffle else members
            # equal pieces, not full ones and a rest: 10 members by 4 are 4, 3 and 3, not 4, 4 and 2
            pieces = -(-len(chosen) // size)
            batches += np.array_split(chosen, pieces) if self.shuffle else [chosen]
        if self.shuffle and self.block > 1:
            return self._in_blocks(batches, number, rng)
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def _in_blocks(self, batches: list, epoch: int, rng) -> list[np.ndarray]:
        """Permute blocks of batches whose costs lie side by side."""
        # 10 batches by 4 in epoch 1: two end the step that epoch 0 began, then come two blocks of
        # four; in epoch 2 four and four, and two for the step that epoch 3 will end
        first = min(-epoch * len(batches) % self.block, len(batches))
        batches = [batches[i] for i in np.argsort([-self.cost(one) for one in batches])]
        # which neighbours are together changes: the cuts begin at a drawn place
        turn = int(rng.integers(self.block))
        batches = batches[turn:] + batches[:turn]
        ends = range(first, len(batches) - self.block + 1, self.block)
        blocks = [batches[at : at + self.block] for at in ends]
        rest = batches[first + len(blocks) * self.block :]
        inside = [block for i in rng.permutation(len(blocks)) for block in blocks[i]]
        return batches[:first] + inside + rest

    def cost(self, batch: np.ndarray) -> float:
        """Say what a batch takes: rows x longest member, and more where attention is long."""
        longest = float(self.lengths[batch].max())
        return len(batch) * longest * (1 + longest / QUADRATIC_S)

    def batch(self, number: int) -> tuple[int, np.ndarray]:
        """Return (epoch, indices) of a batch, counted over the whole run."""
        epoch, place = divmod(number, len(self))
        if epoch not in self._plans:  # one is kept: batches are asked for in order
            self._plans.clear()
            self._plans[epoch] = self.epoch(epoch)
        return epoch, self._plans[epoch][place]
