"""Search: the ids of an answer for each row of a batch, greedily, by sampling or by beams.

Every row has a bound of its own and a guard against loops; rows whose answers have ended leave the
batch, so that in a batch of mixed lengths the long answers do not hold the short ones. A row's
answer does not depend on the rows beside it, also when it is sampled.

Tokens and scores are those of transformers' `generate` with the same settings. A score is the
model's own: the sum of the log-probabilities (nats) of an answer's tokens, its close among them,
divided by the number of tokens to the power of `length_penalty`; filters and temperature choose
among tokens, they do not change what these score. What CTC or a deaf LLM says is added, weighted.

R rows that go on, N lines in the LLM (with W beams R * W), V vocabulary.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from speechllm.decode import beams
from speechllm.decode import draft as drafts
from speechllm.decode.answer import Answer, Ending
from speechllm.decode.deaf import Beside, Deaf
from speechllm.decode.draws import drawn, generator
from speechllm.decode.filters import Allow, Filter, Line, suppressed
from speechllm.decode.settings import Config
from speechllm.models.model import Pass
from speechllm.models.reading import Reading, begun

CROWDED = 0.75  # share of rows that go on, from which copying the cache to drop the others pays


def answers(
    result: Pass,
    bounds: list[int],
    stops: Collection[int],
    pad: int,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
) -> list[Answer]:
    """Find an answer for each row of a pass.

    Args:
        result: a pass over a batch of prompts (left-padded).
        bounds: most tokens of each row's answer, at least 1.
        stops: ids that end an answer, any of them.
        pad: the tokenizer's pad id, which is never said.
        config: how to search.
        filters: what may be said next, in this order; see `decode/filters.py`.

    Raises:
        FloatingPointError: the model computes no numbers; names the utterances.
        ValueError: the filters leave nothing to say.
    """
    steps = said(result, bounds, stops, pad, config, filters)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def said(
    result: Pass,
    bounds: list[int],
    stops: Collection[int],
    pad: int,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
    draft: drafts.Draft | None = None,
    deaf: Deaf | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Search as `answers` does, step by step.

    Yields after each step what was said in it, as (row, id), and returns the answers. Of beams
    nothing is certain before the end: they yield empty lists. `draft`: of the only row's answer.
    `deaf`: the LLM that hears nothing, to be asked beside the one that does.
    """
    filters = suppressed([pad]), *filters
    ending = Ending(bounds, frozenset(stops), config.max_repeats, config.length_penalty)
    allow = Allow(filters, result.batch.names)
    with result.joined() as embeddings:
        if draft is not None:
            reading = Reading(result, embeddings, rewinds=True)
            return (yield from drafts.search(reading, ending, allow, draft))
        reading = begun(result, embeddings)
        if deaf is not None:
            reading = Beside(reading, deaf)
        if config.num_beams > 1 or config.joint:  # one beam is greedy, by the score of both
            return (yield from beams.search(reading, ending, config, allow))
        return (yield from _one_by_one(reading, ending, config, allow))


@dataclass
class Row:
    """One answer as it grows; after its end it takes no more."""

    row: int
    draw: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    total: float = 0.0
    why: str = ""


def _one_by_one(reading: Reading, ending: Ending, config: Config, allow: Allow):
    """Take the best or a drawn id in each step."""
    device = reading.scores.device
    rows = [Row(row, generator(config, device)) for row in range(len(ending.bounds))]
    going = rows
    while True:
        ids, news = grown(reading, going, ending, config, allow)
        yield news
        left = [i for i, row in enumerate(going) if not row.why]
        if not left:
            return [ending.close(row.ids, row.why, row.total) for row in rows]
        # Rows that have ended are read on, their ids thrown away, until enough of them have:
        # cutting them out copies the whole cache, which costs more than a few rows too many.
        if len(left) <= CROWDED * len(going):
            kept = torch.tensor(left, device=device)
            going, ids = [going[i] for i in left], ids[kept]
            reading.keep(kept)
        reading.step(ids)


def grown(reading: Reading, going: list[Row], ending: Ending, config: Config, allow: Allow):
    """Let each row that goes on grow by an id; gives all lines' ids (N,) and (row, id) of these."""
    own = reading.scores
    allowed = allow(own, [Line(r.row, r.ids) for r in going])
    ids = drawn(allowed, going, config) if config.temperature else allowed.argmax(-1)
    totals = own.gather(1, ids[:, None])[:, 0].tolist()
    news = []
    for row, id, score in zip(going, ids.tolist(), totals, strict=True):
        if row.why:
            continue
        row.ids.append(id)
        row.total += score
        row.why = ending.why(row.row, row.ids)
        news.append((row.row, id))
    return ids, news
