"""Batches drawn within windows of a manifest: what is near in the file is read near in time.

The rows are cut into windows of so many, in their order; a window is a shuffle buffer that stands
still. Within one, batches are drawn as `Sampler` draws them, and the windows of an epoch come in a
drawn order. Which batch has which number is known without walking, as ever, so that resuming costs
nothing; what changes against a shuffle of everything is that rows of one window stay together.
"""

import functools
from dataclasses import dataclass, field

import numpy as np

from speechllm.data.sampler import Order, Sampler

FULL = 4  # batches that a bucket of a window holds at least, where there are as many


@dataclass(frozen=True)
class WindowSampler(Order):
    """Duration-bucketed batches within windows of `window` rows.

    lengths, max_batch, max_rows, seed, n_buckets: as of `Sampler`.
    """

    lengths: np.ndarray
    window: int
    max_batch: float
    max_rows: int = 256
    seed: int = 0
    n_buckets: int = 20
    _counts: np.ndarray = field(init=False, repr=False)  # batches of each window

    def __post_init__(self):
        if len(self.lengths) == 0:
            raise ValueError("no examples to make batches of: the manifest is empty")
        n = -(-len(self.lengths) // self.window)
        make = functools.lru_cache(4)(self._make)
        object.__setattr__(self, "_own", make)
        object.__setattr__(self, "_counts", np.array([len(self._make(w)) for w in range(n)]))
        object.__setattr__(self, "_order", functools.lru_cache(2)(self._ordered))

    def _make(self, window: int) -> Sampler:
        own = self.lengths[window * self.window : (window + 1) * self.window]
        batches = own.sum() / self.max_batch
        buckets = int(np.clip(batches // FULL, 1, self.n_buckets))
        seed = int(np.random.SeedSequence((self.seed, window)).generate_state(1)[0])
        return Sampler(own, self.max_batch, self.max_rows, seed, n_buckets=buckets)

    def _ordered(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows of an epoch in order, and how many batches there are up to each one's end."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self._counts))
        return order, np.cumsum(self._counts[order])

    def __len__(self) -> int:
        """Number of batches in an epoch, the same in each."""
        return int(self._counts.sum())

    def batch(self, number: int) -> tuple[int, np.ndarray]:
        """Return (epoch, indices) of a batch, counted over the whole run."""
        epoch, place = divmod(number, len(self))
        order, ends = self._order(epoch)
        position = int(np.searchsorted(ends, place, side="right"))
        window = int(order[position])
        inside = place - int(ends[position] - self._counts[window])
        _, indices = self._own(window).batch(epoch * int(self._counts[window]) + inside)
        return epoch, indices + window * self.window

    def __reduce__(self):
        return WindowSampler, (self.lengths, self.window, self.max_batch, self.max_rows,
                               self.seed, self.n_buckets)  # fmt: skip
