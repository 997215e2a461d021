"""Continuous refilling: where answers have ended, others begin, so that no long one holds a batch.

    def more(free):                     # asked before each step: prompts that are read, or None
        return Begun(keys, reading, bounds, cost) if ... else None
    for news, ended in flowing(more, stops, pad, room=200.0):
        ...

A row's answer is the one that it has in a batch of its own: lines of the LLM know nothing of each
other. Yu et al. 2022 (Orca) for servers; here the prompts of a group are read apart, and their keys
and values put behind those of the lines that go on.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from speechllm.decode.answer import Ending
from speechllm.decode.draws import generator
from speechllm.decode.filters import Allow, Filter, suppressed
from speechllm.decode.search import CROWDED, Config, Row, grown
from speechllm.models.reading import Reading

GONE = "gone"  # why an answer ended for which nobody waits any more


@dataclass(frozen=True)
class Begun:
    """Prompts that are read, and now get their answers.

    Attributes:
        keys: of the rows, by which their answers are known.
        reading: a line each.
        bounds: most tokens of each answer.
        cost: of all together, as `flowing` counts room.
        names: for messages.
    """

    keys: Sequence[Hashable]
    reading: Reading
    bounds: Sequence[int]
    cost: float
    names: Sequence[str]


@dataclass
class _Lines:
    """The lines that go on, with what each costs and whose it is; `first` is the next row's number.

    All by numbers of rows is forgotten with them: a server's flow may have no end.
    """

    config: Config
    reading: Reading | None = None
    rows: list[Row] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    keys: dict[int, Hashable] = field(default_factory=dict)
    bounds: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    first: int = 0

    @property
    def cost(self) -> float:
        """Of those whose answers have not ended."""
        pairs = zip(self.rows, self.costs, strict=True)
        return sum(cost for row, cost in pairs if not row.why)

    def take(self, group: Begun) -> None:
        """Let a group go on with the others."""
        n = len(group.keys)
        if self.reading is None:
            self.reading = group.reading
        else:
            self.reading.take(group.reading)
            self.reading.alike = self.config.exact and self.reading.alike
        numbers = range(self.first, self.first + n)
        device = self.reading.scores.device
        self.rows += [Row(number, generator(self.config, device)) for number in numbers]
        self.costs += [group.cost / n] * n
        for own, new in ((self.keys, group.keys), (self.bounds, group.bounds),
                         (self.names, group.names)):  # fmt: skip
            own.update(zip(numbers, new, strict=True))
        self.first += n

    def ended(self, gone: Callable[[Hashable], bool]) -> list[tuple[Hashable, Row]]:
        """List whose rows have ended with this step, or for whom nobody waits, and forget whose."""
        for row in self.rows:
            if not row.why and gone(self.keys[row.row]):
                row.why = GONE
        over = [row for row in self.rows if row.why and row.row in self.keys]
        return [(self.keys.pop(row.row), row) for row in over]

    def step(self, ids: torch.Tensor, crowded: float) -> None:
        """Read an id in each line (N,), in those that go on alone if they are that few."""
        left = [i for i, row in enumerate(self.rows) if not row.why]
        if len(left) <= crowded * len(self.rows):
            for row in self.rows:
                if row.why:
                    del self.bounds[row.row], self.names[row.row]
            self.rows, self.costs = ([of[i] for i in left] for of in (self.rows, self.costs))
            if not left:
                self.reading = None
                return
            kept = torch.tensor(left, device=ids.device)
            ids = ids[kept]
            self.reading.keep(kept)
        self.reading.step(ids)


def flowing(
    more: Callable[[float], Begun | None],
    stops: Collection[int],
    pad: int,
    room: float,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
    gone: Callable[[Hashable], bool] = lambda key: False,
) -> Iterator[tuple[list, list]]:
    """Answer groups of prompts, greedily or by sampling, until nothing goes on and none comes.

    Args:
        more: called with the room that is free; gives a group of a model of which `reading.joins`
            is true, or None where none waits or fits. Where all of the room is free it is not asked
            what the group costs.
        stops, pad, config, filters: as of `search.answers`.
        room: cost of all rows that may go on together.
        gone: whether nobody waits any more for the answer of this key: it ends there.

    Yields:
        after each step what was said in it, [(key, id)], and what has ended, [(key, answer)].

    Raises:
        FloatingPointError, ValueError: as `search.answers`.
    """
    lines = _Lines(config)
    ending = Ending(lines.bounds, frozenset(stops), config.max_repeats, config.length_penalty)
    allow = Allow((suppressed([pad]), *filters), lines.names)
    group = more(room)
    while group or lines.rows:
        while group:
            lines.take(group)
            group = more(room - lines.cost)
        ids, news = grown(lines.reading, lines.rows, ending, config, allow)
        said = [(lines.keys[number], id) for number, id in news]
        over = lines.ended(gone)
        yield said, [(key, ending.close(row.ids, row.why, row.total)) for key, row in over]
        group = more(room - lines.cost)
        # where others come now, none of those that have ended is read on
        lines.step(ids, 1.0 if group else CROWDED)
