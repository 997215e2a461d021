"""Several seeds of one experiment: one run is a draw, its interval says nothing of the next seed.

    Spread.of([4.85, 2.35, 2.01])   ->   3.07 ± 1.55 (3 runs: 4.85, 2.35, 2.01)

± is the sample standard deviation of the runs, which the next run is drawn with; it is not the
uncertainty of the mean.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Values of several runs, their mean and sample standard deviation."""

    values: tuple[float, ...]
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Take the values of two runs or more.

        Raises:
            ValueError: fewer, or one that is undefined.
        """
        values = tuple(values)
        if len(values) < 2 or any(value != value for value in values):
            raise ValueError(f"a spread wants the scores of two runs or more, got {values}")
        return cls(values, statistics.fmean(values), statistics.stdev(values))

    def __str__(self) -> str:
        each = ", ".join(f"{value:.2f}" for value in self.values)
        return f"{self.mean:.2f} ± {self.deviation:.2f} ({len(self.values)} runs: {each})"
