"""Many requests, one model: batch by batch, or flowing, where those that end make room for others.

    for news, ended in answered(answerer, waiting(groups, 200.0), 200.0):
        for key, answer in ended: ...       # an Answer, or the ValueError that it is refused with

All that answers many goes through here: `decode` and `benchmark`, `transcribe`, the server. Each
text is the one that its request has alone.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from speechllm.data.batch import Batch
from speechllm.decode.answer import Answer
from speechllm.decode.flow import Begun

GROUPS = 4  # parts of a full batch in which others follow those that have ended

More = Callable[[float], "Group | None"]
Ended = list[tuple[Hashable, Answer | ValueError]]


@dataclass(frozen=True)
class Group:
    """Requests whose prompts are read together.

    Attributes:
        keys: what their answers are known by.
        cost: of all together, as room is counted.
        make: gives some of them, by their keys, as a batch, and most tokens of each answer; may
            raise ValueError.
    """

    keys: Sequence[Hashable]
    cost: float
    make: Callable[[Sequence], tuple[Batch, list[int]]]

    def apart(self) -> list["Group"]:
        """Each request as a group of its own."""
        return [Group([key], self.cost / len(self.keys), self.make) for key in self.keys]


def share(answerer, room: float) -> float:
    """Give what a group may cost: all of the room, or, of what flows, a part of it."""
    return room / GROUPS if answerer.refills else room


def waiting(groups: Iterator[Group], room: float) -> More:
    """Make of groups what `answered` asks: the next one, once there is room for it."""
    held: list[Group] = []

    def more(free: float) -> Group | None:
        if not held:
            held.extend(group for group in [next(groups, None)] if group)
        return held.pop() if held and (held[0].cost <= free or free >= room) else None

    return more


def answered(
    answerer, more: More, room: float, gone: Callable[[Hashable], bool] = lambda key: False
) -> Iterator[tuple[list[tuple[Hashable, int]], Ended]]:
    """Answer all that comes; what is refused spoils nothing beside it.

    Args:
        answerer: of `decode/ask.py`.
        more: called with the room that is free: a group, or None where none waits or fits; it is
            over when nothing goes on and none comes.
        room: cost of all that is computed at one time; one group may have more.
        gone: whether nobody waits any more for the answer of a key.

    Yields:
        what was said in a step, [(key, id)], and what has ended with it.

    Raises:
        FloatingPointError: the model computes no numbers.
    """
    if answerer.refills:
        yield from _flowing(answerer, more, room, gone)
        return
    while group := more(room):
        yield from _together(answerer, group)


def _together(answerer, group: Group) -> Iterator[tuple[list, Ended]]:
    """Answer a batch; where one of it is refused, each by itself."""
    try:
        answers = yield from _said(answerer, group)
    except ValueError as error:
        if len(group.keys) == 1:
            yield [], [(group.keys[0], error)]
            return
        for one in group.apart():
            yield from _together(answerer, one)
    else:
        yield [], list(zip(group.keys, answers, strict=True))


def _said(answerer, group: Group):
    steps = answerer.said(*group.make(group.keys))
    while True:
        try:
            news = next(steps)
        except StopIteration as end:
            return end.value
        yield [(group.keys[row], id) for row, id in news], []


def _flowing(answerer, more: More, room: float, gone) -> Iterator[tuple[list, Ended]]:
    refused: Ended = []
    ready: list[Begun] = []

    def begun(free: float) -> Begun | None:
        while not ready and not refused:  # who is refused is told so before others are read
            group = more(free)
            if group is None:
                return None
            ready.extend(_begun(answerer, group, refused))
        return ready.pop(0) if ready else None

    while True:
        for news, ended in answerer.flowing(begun, room, gone):
            yield news, [*refused, *ended]
            refused.clear()
        if not refused:
            return
        yield [], [*refused]
        refused.clear()


def _begun(answerer, group: Group, refused: Ended) -> list[Begun]:
    """Read the prompts of a group; those that are refused are noted, the others read alone."""
    try:
        return [answerer.begun(group.keys, *group.make(group.keys), group.cost)]
    except ValueError as error:
        if len(group.keys) > 1:
            return [one for part in group.apart() for one in _begun(answerer, part, refused)]
        refused.append((group.keys[0], error))
        return []
