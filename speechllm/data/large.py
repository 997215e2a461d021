"""Batches of a manifest too long to sort or to shuffle in memory.

The examples are in order of their lengths already (the index says so). They are cut into buckets as
`Sampler` does; but where that permutes arrays, here each position goes through a permutation that
is a formula, so that a batch costs the same for a thousand examples and for a billion, and nothing
is kept. The formula is a Feistel network over the next power of two; what falls outside is sent
through again until it falls inside (J. Black and P. Rogaway, Ciphers with arbitrary finite domains,
CT-RSA 2002).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from speechllm.data.sampler import Order

ROUNDS = 8


@dataclass(frozen=True)
class LargeSampler(Order):
    """Duration-bucketed batches of `n` examples that stand longest first.

    Attributes:
        n: number of examples.
        length_s: positions -> their lengths; asked for the first of each bucket alone.
        max_batch, max_rows, seed, n_buckets: as of `Sampler`.
    """

    n: int
    length_s: Callable[[np.ndarray], np.ndarray]
    max_batch: float
    max_rows: int = 256
    seed: int = 0
    n_buckets: int = 20
    _starts: np.ndarray = field(init=False, repr=False)  # (buckets + 1,) positions
    _ends: np.ndarray = field(init=False, repr=False)  # (buckets,) batches up to each one's end

    def __post_init__(self):
        if not self.n:
            raise ValueError("no examples to make batches of: the manifest is empty")
        starts = np.arange(min(self.n_buckets, self.n) + 1) * self.n // min(self.n_buckets, self.n)
        longest = np.maximum(self.length_s(starts[:-1]), 1e-3)
        rows = np.clip(self.max_batch // longest, 1, self.max_rows).astype(int)
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_ends", np.cumsum(-(-np.diff(starts) // rows)))

    def __len__(self) -> int:
        """Number of batches in an epoch, the same in each."""
        return int(self._ends[-1])

    def batch(self, number: int) -> tuple[int, np.ndarray]:
        """Return (epoch, positions) of a batch, counted over the whole run."""
        # 10 examples in the buckets [0, 5) and [5, 10), of three and of two rows a batch: 2 batches
        # and 3, `_ends` (2, 5). Place 3 is the second batch of [5, 10), and gets what the bucket's
        # own permutation makes of the positions 1 and 2 of its five.
        epoch, place = divmod(number, len(self))
        place = int(permuted(np.array([place]), len(self), (self.seed, epoch, 0))[0])
        bucket = int(np.searchsorted(self._ends, place, side="right"))
        before = int(self._ends[bucket - 1]) if bucket else 0
        start, end = self._starts[bucket : bucket + 2].tolist()
        pieces = int(self._ends[bucket]) - before
        first, last = (k * (end - start) // pieces for k in (place - before, place - before + 1))
        inside = permuted(np.arange(first, last), end - start, (self.seed, epoch, bucket + 1))
        return epoch, start + inside

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return the batches of an epoch; for tests and small `n`, as it holds them all."""
        return [self.batch(number * len(self) + place)[1] for place in range(len(self))]


def permuted(positions: np.ndarray, n: int, key: Sequence[int]) -> np.ndarray:
    """Where a permutation of 0 .. n - 1, chosen by `key`, sends these positions, int64."""
    bits = max(n - 1, 1).bit_length()
    keys = np.random.SeedSequence(key).generate_state(ROUNDS, np.uint64)
    out = _feistel(positions.astype(np.uint64), bits, keys)
    # the formula permutes 0 .. 2**bits - 1; a position that lands beyond n - 1 walks on along its
    # cycle until it lands inside, which keeps it a permutation; half or more land at once
    while (outside := out >= n).any():
        out[outside] = _feistel(out[outside], bits, keys)
    return out.astype(np.int64)


def _feistel(x: np.ndarray, bits: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of 0 .. 2**bits - 1: each half in turn is changed by a hash of the other."""
    low_bits = np.uint64(bits // 2)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << (np.uint64(bits) - low_bits)) - np.uint64(1)
    high, low = x >> low_bits, x & low_mask
    # whatever the hash is, each line can be undone (x ^ h ^ h is x), so no two x come out alike
    for first, second in keys.reshape(-1, 2):
        high = high ^ (_hash(low + first) & high_mask)
        low = low ^ (_hash(high + second) & low_mask)
    return (high << low_bits) | low


def _hash(x: np.ndarray) -> np.ndarray:
    """64 well mixed bits: the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
