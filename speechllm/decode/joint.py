"""The LLM and a CTC head decide together: a filter that adds what the head has heard.

What a piece scores is its log-probability by the LLM plus `weight` times what it adds to the
log-probability of the beginning by CTC; an end adds what is between a beginning and a whole text.
Watanabe et al. 2017, with one difference: the LLM's probability is not weighed down, so that a
weight of 0 is the LLM alone.

Only candidates are scored, all else is out: the most probable pieces by the LLM, the ends, and the
pieces that begin what the head hears next, so that a word can be written that the LLM would never
guess. Beginnings that candidates share are computed once.

N lines, V vocabulary; n different beginnings among the lines (beams may hold one twice).
"""

import bisect
from collections.abc import Collection, Iterator, Sequence

import torch

from speechllm.decode.filters import Line
from speechllm.decode.prefix import NEVER, Prefixes, States
from speechllm.decode.spelling import Pieces
from speechllm.decode.tree import Tree

NEXT = 3  # units that the head may hear next, each followed up
UNLIKELY = 6.0  # nats below the most probable next unit, from which one is not followed up
BEST = 4  # units of a frame that may be heard next
NEAR = 2  # frames by which a unit may begin before the best path has it


class Joint:
    """A filter, see the module docstring; it keeps the beginnings of the last step.

    Args:
        prefixes: what the head heard in each row of the batch.
        spelling: what pieces are in its units.
        weight: of CTC.
        stops: ids that end an answer.
        candidates: of the LLM, in each line.
        free_end: the LLM has no say in where a text ends.
        ahead: nats that the LLM is thought to want for a unit of the head's that is still to come.
    """

    def __init__(
        self,
        prefixes: Prefixes,
        spelling: Pieces,
        weight: float,
        stops: Collection[int],
        candidates: int = 20,
        free_end: bool = False,
        ahead: float = 0.0,
    ):
        self.prefixes, self.spelling, self.weight = prefixes, spelling, weight
        # where the LLM has no say, several ends would be one answer several times
        self.stops = sorted(stops)[: 1 if free_end else None]
        self.candidates, self.free_end, self.ahead = candidates, free_end, ahead
        self._numbers: dict[tuple, int] = {}  # (row, ids) -> number in `_states`
        self._states: States | None = None
        self._next = [_Next(scores, prefixes.n_units) for scores in prefixes.scores]
        self._reached = torch.stack([one.reached for one in self._next])

    def __call__(self, scores: torch.Tensor, lines: Sequence[Line]) -> torch.Tensor:
        """Score the candidates of each line (N, V), in place, minus infinity elsewhere."""
        keys = [(line.row, tuple(line.ids)) for line in lines]
        different = list(dict.fromkeys(keys))
        self._states = self._read(different)
        self._numbers = {key: number for number, key in enumerate(different)}
        numbers = [self._numbers[key] for key in keys]
        heard = [self._expected(number) for number in range(len(different))]
        lasts = self._states.last[numbers].tolist()
        chosen, own = self._choose(scores, [heard[number] for number in numbers], lasts)
        gains = self._gains(numbers, chosen, own)
        scores.fill_(-torch.inf)
        for line, (ids, values, gain) in enumerate(zip(chosen, own, gains, strict=True)):
            totals = [value + one for value, one in zip(values, gain, strict=True)]
            scores[line, ids] = torch.tensor(totals, dtype=scores.dtype, device=scores.device)
        return scores

    def _read(self, keys: list[tuple]) -> States:
        """Give the states of beginnings (row, ids), from those of the last step where they are."""
        device = self.prefixes.scores.device
        known = [self._numbers.get((row, ids[:-1]), -1) if ids else -1 for row, ids in keys]
        begun = self.prefixes.begin(torch.tensor([row for row, _ in keys], device=device))
        if self._states is not None:
            # those of the last step after the new ones: number k there is number n + k here
            begun = States.of([begun, self._states])
        n, spelled, places = len(keys), [], []
        for i, ((_, ids), before) in enumerate(zip(keys, known, strict=True)):
            places.append(n + before if before >= 0 else i)
            last = int(begun.last[places[-1]])
            new, units = (ids[-1:] if before >= 0 else ids), []
            for id in new:
                units += self.spelling.units(id, units[-1] if units else last)
            spelled.append(tuple(units))
        return self.prefixes.spell(begun.at(torch.tensor(places, device=device)), spelled)

    def _expected(self, number: int) -> list[torch.Tensor]:
        """List the pieces that a beginning goes on with by CTC, those of one spelling together."""
        states = self._states
        last, follow = int(states.last[number]), self._next[int(states.rows[number])]
        return [ids for units in follow(self.prefixes, states, number)
                for ids in self.spelling.starts(units, last)]  # fmt: skip

    def _choose(self, scores, heard, lasts) -> tuple[list[list[int]], list[list[float]]]:
        """Give the candidates of each line, and what the LLM says of them."""
        ends = scores[:, self.stops].tolist()
        scores = self._writable(scores)
        values, ids = scores.topk(min(self.candidates, scores.shape[1]), dim=1)
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        offered = [dict(zip(*pair, strict=True)) for pair in pairs]
        for line, id, score in _preferred(scores, heard):
            offered[line].setdefault(id, score)
        for i, last in enumerate(lasts):
            said = {id: score for id, score in offered[i].items()
                    if score > -torch.inf and self.spelling.writable(id, last)}  # fmt: skip
            for id, score in zip(self.stops, ends[i], strict=True):
                if score > -torch.inf:
                    said[id] = 0.0 if self.free_end else score
            offered[i] = said
        return [list(said) for said in offered], [list(said.values()) for said in offered]

    def _writable(self, scores: torch.Tensor) -> torch.Tensor:
        """Leave out, in place, the ends, candidates anyway, and what cannot be spelled."""
        out = self.spelling.strange(scores.shape[1]).to(scores.device).clone()
        out[self.stops] = True
        scores.masked_fill_(out, -torch.inf)
        # a language model of texts that the head can spell has its shares among their pieces
        return scores.log_softmax(-1) if self.free_end else scores

    def _gains(self, numbers: list[int], chosen: list[list[int]], own) -> list[list[float]]:
        """Say what each candidate adds to its line's score by CTC."""
        states = self._states
        whole, lasts = self.prefixes.whole(states), states.last.tolist()
        tree = Tree(self.prefixes, states, self._value)
        for number, ids, values in zip(numbers, chosen, own, strict=True):
            for id, value in zip(ids, values, strict=True):
                if id not in self.stops:
                    tree.add(number, self.spelling.units(id, lasts[number]), value)
        found = tree.grown()
        ends = _weighted(whole, self.weight)
        before = self._value(states.rows, states.total, states.frame)
        for number in (states.last == -1).nonzero()[:, 0].tolist():
            before[number] = 0.0  # so that the score of a whole text is that of its parts alone
        gains = []
        for number, ids in zip(numbers, chosen, strict=True):
            after = [ends[number] if id in self.stops else
                     found.get((number, self.spelling.units(id, lasts[number])), -torch.inf)
                     for id in ids]  # fmt: skip
            gains.append([one - before[number] for one in after])
        return gains

    def _value(self, rows, totals, frames) -> list[float]:
        """What beginnings (n,) are worth: their weighted score, and what is left of the sound.

        A piece of a letter costs the LLM less than a word, and leaves more to be said: beams would
        hold what has come least far. So what is left to be said is paid for beforehand.
        """
        left = (self._reached[rows, -1] - self._reached[rows, frames + 1]).tolist()
        pairs = zip(_weighted(totals, self.weight), left, strict=True)
        return [total - self.ahead * units for total, units in pairs]


def _preferred(scores: torch.Tensor, heard: list[list[torch.Tensor]]) -> Iterator[tuple]:
    """Of pieces spelled alike, as "The" and "the", the one that the LLM prefers: (line, id, score).

    Args:
        scores: (N, V).
        heard: for each line, pieces (k,) that are spelled alike, k of any size.
    """
    groups = [(line, ids) for line, several in enumerate(heard) for ids in several]
    if not groups:
        return
    lines, ids = torch.tensor([line for line, _ in groups]), torch.cat([ids for _, ids in groups])
    sizes = torch.tensor([len(ids) for _, ids in groups])
    group = torch.arange(len(groups)).repeat_interleave(sizes)
    values = scores[lines[group].to(scores.device), ids.to(scores.device)].cpu()
    most = torch.full((len(groups),), -torch.inf).scatter_reduce(0, group, values, "amax")
    hits = (values == most[group]).nonzero()[:, 0]
    first = torch.full_like(lines, len(ids)).scatter_reduce(0, group[hits], hits, "amin")
    yield from zip(lines.tolist(), ids[first].tolist(), most.tolist(), strict=True)


def _weighted(totals: torch.Tensor, weight: float) -> list[float]:
    """Weight log-probabilities; minus infinity where no alignment can be."""
    return [weight * one if one > NEVER / 2 else -torch.inf for one in totals.tolist()]


class _Next:
    """What a head hears next in one row, after any beginning: a few likely strings of units."""

    def __init__(self, scores: torch.Tensor, blank: int):
        path = scores.argmax(0)  # scores (C + 1, T)
        begins = torch.nn.functional.pad(path[1:] != path[:-1], (1, 0), value=True)
        frames = (begins & (path != blank)).nonzero()[:, 0]
        self.frames, self.units = frames.tolist(), path[frames].tolist()
        # (T + 1,) units that the best path has begun after so many frames
        begun = (begins & (path != blank)).cumsum(0)
        self.reached = torch.nn.functional.pad(begun, (1, 0))
        few = min(BEST, blank)
        self.likely = scores[:-1].topk(few, dim=0).indices.unique() if len(scores) > 1 else path[:0]

    def __call__(self, prefixes: Prefixes, states: States, number: int) -> list[tuple[int, ...]]:
        """Give units that may come next, and those of the best path from there on."""
        numbers = torch.full_like(self.likely, number)
        by_frame = prefixes.begins(states, numbers, self.likely)
        totals = by_frame.logsumexp(1)
        best = totals.topk(min(NEXT, len(totals)))
        places = best.indices[best.values > best.values.max() - UNLIKELY]
        begun = zip(self.likely[places].tolist(), by_frame[places].argmax(1).tolist(), strict=True)
        return [(unit, *self._after(unit, frame)) for unit, frame in begun]

    def _after(self, unit: int, frame: int) -> list[int]:
        """Units of the best path behind a frame at which one begins."""
        place = bisect.bisect_right(self.frames, frame)
        # the one that begins may do so a little before the best path has it
        if place < len(self.frames) and self.units[place] == unit:
            place += self.frames[place] - frame <= NEAR
        return self.units[place:]
