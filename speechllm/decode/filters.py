"""What may be said next, and what has gone wrong: small functions that a search asks at each step.

A filter is called with the scores (N, V), log-probabilities of each next id, and with what each of
the N lines has said, and returns scores (N, V); an id that may not be said gets minus infinity. It
may change the scores it is given, and may weigh as well as forbid.

    filters = [suppressed([5, 7]), no_repeat(3), forced([11, 12]), one_of([[8], [9, 4]], [2])]
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

LONGEST = 8  # n-grams up to this size are looked for by the loop guard


class Line(NamedTuple):
    """What one line has said: `row` is its place in the batch, beams of one row share it."""

    row: int
    ids: Sequence[int]


Filter = Callable[[torch.Tensor, Sequence[Line]], torch.Tensor]


@dataclass(frozen=True)
class Allow:
    """Asks all filters in turn; `names` are the utterances by their rows, for messages."""

    filters: Sequence[Filter]
    names: Sequence[str] | Mapping[int, str]

    def __call__(self, scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        """Say what may be said next, (N, V); the scores given stay as they are.

        Raises:
            FloatingPointError: scores that are no numbers.
            ValueError: no line may say anything.
        """
        # they have been normalised: one that is no number leaves none in its line
        lost = {line.row for line, none in zip(lines, scores[:, 0].isnan().tolist(), strict=True)
                if none}  # fmt: skip
        if lost:
            named = ", ".join(self.names[row] for row in sorted(lost)[:3])
            raise FloatingPointError(
                f"the model computes no numbers (NaN) for {named}: its weights, or the features of "
                "this input, are damaged; try another checkpoint, or --precision fp32"
            )
        allowed = scores.clone()
        for one in self.filters:
            allowed = one(allowed, lines)
        if allowed.max() == -math.inf:
            raise ValueError("the filters of this search leave nothing to say")
        return allowed


def suppressed(ids: Collection[int]) -> Filter:
    """Never say these ids."""
    columns = sorted(ids)

    def forbid(scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        scores[:, columns] = -torch.inf
        return scores

    return forbid


def no_repeat(n: int) -> Filter:
    """Never say the same n ids in a row twice in one answer.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"no_repeat: wanted the size of an n-gram, 1 or more, got {n}")

    def forbid(scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        for i, line in enumerate(lines):
            ids = list(line.ids)
            begun = ids[len(ids) - n + 1 :]
            ends = range(n - 1, len(ids))
            again = [ids[end] for end in ends if ids[end - n + 1 : end] == begun]
            scores[i, again] = -torch.inf
        return scores

    return forbid


def forced(prefix: Sequence[int]) -> Filter:
    """Begin every answer with these ids, and go on freely."""

    def forbid(scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        for i, line in enumerate(lines):
            if len(line.ids) < len(prefix):
                id = prefix[len(line.ids)]
                kept = scores[i, id].clone()
                scores[i] = -torch.inf
                scores[i, id] = kept
        return scores

    return forbid


def one_of(answers: Collection[Sequence[int]], stops: Collection[int]) -> Filter:
    """Say one of these answers and end: no other beginning, no other end.

    With as many beams as answers, and a length penalty of 0, the most probable one is found.

    Args:
        answers: ids of each, without the close.
        stops: ids that end an answer.

    Raises:
        ValueError: no answer.
    """
    if not answers:
        raise ValueError("one_of: wanted at least one answer")
    after: dict[tuple[int, ...], set[int]] = {}  # what may follow each beginning
    for ids in answers:
        for n, id in enumerate(ids):
            after.setdefault(tuple(ids[:n]), set()).add(id)
        after.setdefault(tuple(ids), set()).update(stops)
    columns = {begun: sorted(ids) for begun, ids in after.items()}

    def forbid(scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        kept = torch.full_like(scores, -torch.inf)
        for i, line in enumerate(lines):
            # a row that has ended may be read on beside others: whatever it says is thrown away
            allowed = columns.get(tuple(line.ids), columns[()])
            kept[i, allowed] = scores[i, allowed]
        return kept

    return forbid


def loops(ids: list[int], repeats: int) -> bool:
    """Say whether the last ids are one n-gram `repeats` times over, n up to `LONGEST`; 0: never."""
    for n in range(1, LONGEST + 1):
        size = n * repeats
        if not size or len(ids) < size:
            return False
        if ids[-size : len(ids) - n] == ids[len(ids) - size + n :]:
            return True
    return False
