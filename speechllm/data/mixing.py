"""Several manifests in one training: which of them batch number b is of, and which of its batches.

A phase's `data` names one manifest, or several with shares:

    data = { speech = 2, sounds = 1, text = { weight = 0.5, task = { name = "copy" } } }

A batch is of one source. A share is one of batches, and so about one of seconds, as batches are cut
by seconds. Whose batch number b is follows from b and the shares alone, in whole numbers, so that a
run resumes anywhere at once, and after any number of batches each of K sources has had its share to
within K batches. Each source has epochs of its own: a small one begins again while a large one is
still in its first.

A row's task is its source's `task`; else the phase's; else the row's own (its field `task`); else
the preset's. Named alone (by its row, or as task = "qa") it has the settings of [task.others.NAME].
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from speechllm import config
from speechllm.data.examples import Example, Examples
from speechllm.data.sampler import Order

APART = 1_000_003  # between the seeds of two sources


@dataclass(frozen=True)
class Source:
    """One manifest of a mixture: its weight (0: by its size), and a task of its own.

    augment: settings that stand in its place of the preset's [augment]: sounds may be turned round,
    words not.
    plain: of examples with one answer each, where the phase's objectives want more of the others:
    text beside pairs of answers.
    """

    weight: float = 0.0
    task: dict | str | None = None
    augment: dict = field(default_factory=dict)
    plain: bool = False

    def __post_init__(self):
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight: wanted a number above 0, got {self.weight}")


def sources(table: str | dict, where: str) -> dict[str, Source]:
    """Read a phase's `data` or `valid`: a manifest's name, or {name: weight or a Source}.

    Raises:
        ValueError: no manifest, a setting that is wrong, weights for some but not for all.
    """
    if isinstance(table, str):
        return {table: Source()}
    entries = {
        name: {"weight": value} if isinstance(value, int | float) else value
        for name, value in table.items()
    }
    named = {name: config.fill(Source, t, f"{where}.{name}") for name, t in entries.items()}
    bare = [name for name, source in named.items() if not source.weight]
    if not named or 0 < len(bare) < len(named):
        names = f"; {', '.join(bare)}: none" if bare else ", and at least one manifest"
        raise ValueError(f"{where}: wanted a weight above 0 for each manifest, or for none{names}")
    return named


def shares(weights: Sequence[float], temperature: float = 1.0) -> list[Fraction]:
    """Shares that sum to 1: weights ** (1 / temperature), which evens them out above 1.

    As multilingual models sample their languages (Arivazhagan et al. 2019, arXiv 1907.05019).

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: wanted a number above 0, got {temperature}")
    largest = max(weights)
    # a whole number of parts in 10**9, so that the sums in `source` are exact
    raised = [
        Fraction((w / largest) ** (1 / temperature)).limit_denominator(10**9) for w in weights
    ]
    return [share / sum(raised) for share in raised]


@dataclass(frozen=True)
class Mixture(Order):
    """The batches of several samplers in their shares; indices count through all of them.

    Attributes:
        samplers: one a source.
        sizes: number of examples of each.
        shares: from `shares`.
    """

    samplers: Sequence[Order]
    sizes: Sequence[int]
    shares: Sequence[Fraction]
    _firsts: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_firsts", np.cumsum([0, *self.sizes[:-1]]))

    def source(self, number: int) -> tuple[int, int]:
        """Return (source, which of its own batches) of a batch, counted over the whole run.

        Of the numbers that reach a source, it takes n where floor(n x share) steps up; the others
        go on, counted anew, to the sources behind it.
        """
        # With shares 1/2, 1/3, 1/6 the batches 0 to 5 go to
        #
        #     number          0 1 2 3 4 5
        #     floor(n / 2)    0 0 1 1 2 2 3    steps up after 1, 3, 5: source 0
        #     the others      0   1   2        counted anew, reach source 1 with (1/3) / (1/2) = 2/3
        #     floor(2n / 3)   0   0   1   2    steps up after the counts 1, 2: numbers 2, 4
        #     the last                         number 0: source 2
        #
        # so 2 0 1 0 1 0, and then the same again. Fractions: floats would drift over a long run.
        left = Fraction(1)
        for place, share in enumerate(self.shares[:-1]):
            own, after = (int(n * share / left) for n in (number, number + 1))
            if after > own:
                return place, own
            number, left = number - own, left - share
        return len(self.shares) - 1, number

    def batch(self, number: int) -> tuple[int, np.ndarray]:
        """Return (epoch of its source, indices) of a batch, counted over the whole run."""
        place, own = self.source(number)
        epoch, indices = self.samplers[place].batch(own)
        return epoch, np.asarray(indices) + self._firsts[place]


class Mixed:
    """The examples of several sources behind one count, in the order of `Mixture`."""

    def __init__(self, parts: Sequence[Examples]):
        self.parts = parts
        self.builder = parts[0].builder
        self._ends = np.cumsum([len(part.manifest) for part in parts]).tolist()

    def make(self, epoch: int, index: int) -> Example:
        """Make an example as its source makes it. Raises ValueError as `Examples.make` does."""
        place = bisect.bisect_right(self._ends, index)
        first = self._ends[place - 1] if place else 0
        return self.parts[place].make(epoch, index - first)
