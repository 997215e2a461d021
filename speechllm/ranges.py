"""Which numbers mean something: types for the fields of Configs and for the command line's options.

    steps: Positive          layers: Layers          dropout: BelowOne = 0.1          lr: AboveZero

`config.fill` holds what a preset says against them, `cli/options.py` what the command line says.
"""

import dataclasses
import math
import typing

LARGEST = 2**31 - 1  # of a whole number: what is above it is a slip, and no machine's size


@dataclasses.dataclass(frozen=True)
class Range:
    """What a number may be: `low` to `high`, either of them left out where `above` or `below`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a number is within."""
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = (
            f"{'above' if self.above else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        )
        high = f"{'below' if self.below else 'at most'} {self.high:g}"
        return " and ".join(words for words in (low, high if self.high < math.inf else "") if words)

    def check(self, value, where: str):
        """Return a number, or several, if within.

        Raises:
            ValueError: outside; says what was wanted, `where` first.
        """
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not self.holds(number):
                raise ValueError(f"{where}: wanted a number {self}, got {number}")
        return value


# Numbers of settings; each Config says by these which ones mean something.
Count = typing.Annotated[int, Range(0)]
Positive = typing.Annotated[int, Range(1)]
Width = typing.Annotated[int, Range(1, 2**20)]  # of a matrix, in heads, in steps
Size = typing.Annotated[int, Range(0, 2**20)]  # the same, 0 for as something else
Workers = typing.Annotated[int, Range(0, 1024)]
Layers = typing.Annotated[int, Range(1, 1000)]  # no network has more; each is built one by one
MaybeLayers = typing.Annotated[int, Range(0, 1000)]
Share = typing.Annotated[float, Range(0, 1)]
BelowOne = typing.Annotated[float, Range(0, 1, below=True)]
NotNegative = typing.Annotated[float, Range(0)]
Rate = typing.Annotated[float, Range(0, 100, above=True)]
AboveZero = typing.Annotated[float, Range(0, above=True)]
