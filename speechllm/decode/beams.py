"""Beam search: the W most probable beginnings of each row go on together.

As in transformers, a row ends when W answers have ended and the best that still grows scores no
better, at the length it has now, than the worst of them.

R rows that go on, W beams, V vocabulary; N = R * W lines, the beams of a row side by side.
"""

from dataclasses import dataclass, field, replace

import torch

from speechllm.decode.answer import Answer, Ending
from speechllm.decode.filters import Allow, Line
from speechllm.models.reading import Reading

DEAD = -1e8  # total of a beam that cannot go on: below any sum of log-probabilities


@dataclass
class _Row:
    """The beams of one row: what goes on, what has ended with its score."""

    row: int
    beams: list[list[int]] = field(default_factory=lambda: [[]])
    totals: list[float] = field(default_factory=lambda: [0.0])
    ended: list = field(default_factory=list)


def search(reading: Reading, ending: Ending, config, allow: Allow):
    """Search with `config.num_beams` beams; yields after each step, returns the answers."""
    device = reading.scores.device
    rows = [_Row(row) for row in range(len(ending.bounds))]
    going = rows
    while going:
        lines = [Line(row.row, ids) for row in going for ids in row.beams]
        totals = torch.tensor([row.totals for row in going], device=device)
        scores = allow(reading.scores, lines)
        parents, left = [], []
        # Each beam can end in as many ways as there are stops. With W beams and one stop, at most W
        # of the best 2 W continuations end, so W are left that go on.
        n = max(2, 1 + len(ending.stops)) * config.num_beams
        for number, (row, candidates) in enumerate(
            zip(going, _best(scores, totals, n), strict=True)
        ):
            first = number * len(row.beams)  # of the row's lines among all
            chosen = _extend(row, candidates, ending, config.num_beams)
            if not _over(row, config):
                parents += [first + parent for parent in chosen]
                left.append(row)
        yield []
        if left:
            # as many rows as before: the cache is only put in another order, nothing is cut
            same = len(left) == len(going) and len(lines) == len(parents)
            reading.keep(torch.tensor(parents, device=device), same_rows=same)
            reading.step(torch.tensor([ids[-1] for r in left for ids in r.beams], device=device))
        going = left
    return [_answer(row, config.num_best) for row in rows]


def _best(scores: torch.Tensor, totals: torch.Tensor, n: int) -> list[list[tuple]]:
    """The best n continuations of each row, best first: (total, parent, id).

    n is so large that, if each beam's most probable ids end it, W are left to go on with.
    """
    n_rows, width = totals.shape
    kept = min(n, scores.shape[1])  # of each beam: more of one cannot be among the row's best
    values, ids = scores.topk(kept, dim=1)
    whole = (values.view(n_rows, width, kept) + totals[:, :, None]).flatten(1)
    values, places = whole.topk(min(n, whole.shape[1]), dim=1)
    ids = ids.view(n_rows, -1).gather(1, places)
    parents = places // kept
    return [
        list(zip(*row, strict=True))
        for row in zip(values.tolist(), parents.tolist(), ids.tolist(), strict=True)
    ]


def _extend(row: _Row, candidates: list[tuple], ending: Ending, num_beams: int) -> list[int]:
    """Let a row grow by one id; returns which beams its new ones continue."""
    going = []
    for rank, (total, parent, id) in enumerate(candidates):
        if total <= DEAD:
            break
        ids = [*row.beams[parent], id]
        why = ending.why(row.row, ids)
        if not why:
            going.append((total, parent, ids))
        # an end that W others beat is no candidate: as in transformers, where the search would
        # else go on until something short and poor had filled the list
        elif rank < num_beams:
            row.ended.append(ending.close(ids, why, total))
    row.ended = sorted(row.ended, key=lambda answer: -answer.score)[:num_beams]
    going = going[:num_beams]
    if not going:
        row.beams = []
        return []
    # every row has W lines: where fewer go on, copies that nothing chooses fill their places
    going += [(10 * DEAD, *going[0][1:])] * (num_beams - len(going))
    row.totals, parents, row.beams = map(list, zip(*going, strict=True))
    return parents


def _over(row: _Row, config) -> bool:
    """Say whether nothing that a row could still say would be taken."""
    if not row.beams:
        return True
    # At the length it has now: with a penalty above 0 a longer answer could still score better, but
    # then a search would hardly ever be over.
    best = row.totals[0] / len(row.beams[0]) ** config.length_penalty
    return len(row.ended) == config.num_beams and best <= row.ended[-1].score


def _answer(row: _Row, num_best: int) -> Answer:
    """The best answer of a row, with the next best beside it.

    Raises:
        ValueError: the filters let none come to an end.
    """
    if not row.ended:
        raise ValueError("the filters of this search leave nothing to say")
    first, *others = row.ended[:num_best]
    return replace(first, alternatives=tuple(others))
