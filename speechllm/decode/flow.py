"""Continuous refilling: where answers have ended, others begin, so that no long one holds a batch.

    groups = (begun(batch) for batch in batches)     # prompts that are read, when their turn comes
    for number, answer in flowing(groups, stops, pad, room=200.0):
        ...

A row's answer is the one that it has in a batch of its own: lines of the LLM know nothing of each
other. Yu et al. 2022 (Orca) for servers; here the prompts of a group are read apart, and their keys
and values put behind those of the lines that go on.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from speechllm.decode.answer import Answer, Ending
from speechllm.decode.draws import generator
from speechllm.decode.filters import Allow, Filter, suppressed
from speechllm.decode.search import CROWDED, Config, Row, grown
from speechllm.models.reading import Reading


@dataclass(frozen=True)
class Begun:
    """Prompts that are read, and wait for their answers.

    Attributes:
        reading: a line each.
        bounds: most tokens of each answer.
        names: for messages.
        cost: of all together, as `flowing` counts room.
    """

    reading: Reading
    bounds: list[int]
    names: Sequence[str]
    cost: float


@dataclass
class _Lines:
    """The lines that go on, with what each costs; `first` is the number of the next row."""

    config: Config
    reading: Reading | None = None
    rows: list[Row] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    first: int = 0

    @property
    def cost(self) -> float:
        """Of those whose answers have not ended."""
        pairs = zip(self.rows, self.costs, strict=True)
        return sum(cost for row, cost in pairs if not row.why)

    def take(self, group: Begun) -> None:
        """Let a group go on with the others."""
        n = len(group.bounds)
        if self.reading is None:
            self.reading = group.reading
        else:
            self.reading.take(group.reading)
        draws = [generator(self.config, self.reading.scores.device) for _ in range(n)]
        self.rows += [Row(self.first + i, draw) for i, draw in enumerate(draws)]
        self.costs += [group.cost / n] * n
        self.first += n

    def step(self, ids: torch.Tensor, crowded: float) -> None:
        """Read an id in each line (N,), in those that go on alone if they are that few."""
        left = [i for i, row in enumerate(self.rows) if not row.why]
        if len(left) <= crowded * len(self.rows):
            self.rows, self.costs = ([of[i] for i in left] for of in (self.rows, self.costs))
            if not left:
                self.reading = None
                return
            kept = torch.tensor(left, device=ids.device)
            ids = ids[kept]
            self.reading.keep(kept)
        self.reading.step(ids)


def flowing(
    groups: Iterator[Begun],
    stops: Collection[int],
    pad: int,
    room: float,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
) -> Iterator[tuple[int, Answer]]:
    """Answer groups of prompts, greedily or by sampling.

    Args:
        groups: of a model of which `reading.joins` is true.
        stops, pad, config, filters: as of `search.answers`.
        room: cost of all rows that may go on together; one group may have more.

    Yields:
        (number of the row, counted over all groups; its answer), in the order of their ends.

    Raises:
        FloatingPointError, ValueError: as `search.answers`.
    """
    ending = Ending([], frozenset(stops), config.max_repeats, config.length_penalty)
    names: list[str] = []
    allow = Allow((suppressed([pad]), *filters), names)
    lines, waiting = _Lines(config), next(groups, None)
    while lines.rows or waiting:
        while waiting and (not lines.rows or lines.cost + waiting.cost <= room):
            ending.bounds.extend(waiting.bounds)
            names.extend(waiting.names)
            lines.take(waiting)
            waiting = next(groups, None)
        ids, news = grown(lines.reading, lines.rows, ending, config, allow)
        rows = {row.row: row for row in lines.rows}
        for row in (rows[number] for number, _ in news):
            if row.why:
                yield row.row, ending.close(row.ids, row.why, row.total)
        # where the next group has room now, none of those that have ended is read on
        fits = waiting is not None and lines.cost + waiting.cost <= room
        lines.step(ids, 1.0 if fits else CROWDED)
