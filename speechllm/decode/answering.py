"""Rows of a manifest to answers: batch by batch, or flowing, where those that end make room."""

import contextlib
from collections.abc import Iterator

from speechllm import media
from speechllm.data import loader
from speechllm.data.examples import Examples
from speechllm.data.rows import parts, seconds
from speechllm.decode import room
from speechllm.decode.answer import Answer
from speechllm.decode.ask import Answerer
from speechllm.decode.tally import Tally

GROUPS = 4  # parts of a full batch in which others follow those that have ended
WRITTEN = 8  # answers that are given at once


def by_batch(answerer: Answerer, examples: Examples, options, tally) -> Iterator:
    """Yield (numbers of rows, their answers), batch by batch."""
    for batch, indices in _batches(examples, options, options.max_batch_s, tally):
        try:
            yield indices, answerer(batch, _bounds(examples, indices, options))
        except ValueError:  # of one of them; alone it will say so again
            for i in indices:
                with _aside(examples, i, options, tally):
                    alone = answerer.batch([examples.make(0, i)])
                    yield [i], answerer(alone, _bounds(examples, [i], options))


def flowing(answerer: Answerer, examples: Examples, options, tally) -> Iterator:
    """Yield (numbers of rows, their answers): where some have ended, others begin."""
    order: list[int] = []  # of the rows, as they were begun

    def begun(batch, indices: list[int]):
        lengths = [max(seconds(examples.manifest[i]), 1.0) for i in indices]
        cost = len(indices) * max(lengths)
        group = answerer.begun(batch, _bounds(examples, indices, options), cost)
        order.extend(indices)
        return group

    def groups():
        for batch, indices in _batches(examples, options, options.max_batch_s / GROUPS, tally):
            try:
                yield begun(batch, indices)
            except ValueError:
                for i in indices:
                    with _aside(examples, i, options, tally):
                        yield begun(answerer.batch([examples.make(0, i)]), [i])

    ended: list[tuple[int, Answer]] = []
    for number, answer in answerer.flowing(groups(), options.max_batch_s):
        ended.append((order[number], answer))
        if len(ended) >= WRITTEN:
            yield tuple(map(list, zip(*ended, strict=True)))
            ended = []
    if ended:
        yield tuple(map(list, zip(*ended, strict=True)))


def _bounds(examples: Examples, indices: list[int], options) -> list[int]:
    rows = [examples.manifest[i] for i in indices]
    # there may be much to say of one picture: what it costs bounds nothing
    lengths = [0.0 if any(map(media.timeless, parts(row))) else seconds(row) for row in rows]
    return [room.bound(s, options.max_tokens_per_s, options.max_tokens) for s in lengths]


@contextlib.contextmanager
def _aside(examples: Examples, i: int, options, tally) -> Iterator[None]:
    """Set a row aside that the model refuses.

    Raises:
        ValueError: `on_error` is "stop"; says where the row stands.
    """
    try:
        yield
    except ValueError as error:
        manifest = examples.manifest
        name = manifest[i]["id"]
        where = f"{manifest.path}:{manifest.line(i)}: utterance {name!r}: {error}"
        if options.on_error == "stop":
            raise ValueError(f"{where} (--on-error skip goes on without it)") from None
        tally.errors.append(where)


def _batches(examples: Examples, options, max_batch_s: float, tally: Tally) -> Iterator:
    """Yield (batch, numbers of its rows); what cannot be read is noted in the tally."""
    manifest = examples.manifest
    data = loader.Config(
        max_batch_s=max_batch_s, workers=options.workers, on_error=options.on_error
    )
    plan = data.sampler(manifest, seed=0, shuffle=False).epoch(0)
    keys = [(number, 0, indices) for number, indices in enumerate(plan)]
    for number, batch, errors in loader.batches(examples, data, keys):
        tally.errors += errors
        if batch is not None:
            read, whole = set(batch.names), [int(i) for i in plan[number]]
            yield batch, [i for i in whole if manifest[i]["id"] in read]
