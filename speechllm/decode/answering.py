"""Rows of a manifest to answers (`decode/many.py`), those that the model refuses set aside."""

from collections.abc import Iterator

from speechllm import media
from speechllm.data import loader
from speechllm.data.examples import Examples
from speechllm.data.rows import parts, seconds
from speechllm.decode import many, room
from speechllm.decode.answer import Answer
from speechllm.decode.ask import Answerer
from speechllm.decode.tally import Tally

WRITTEN = 8  # answers that are given at once, where they end one by one


def answers(
    answerer: Answerer, examples: Examples, options, tally: Tally
) -> Iterator[list[tuple[int, Answer]]]:
    """Yield (number of the row, its answer) of several rows at a time.

    Raises:
        ValueError: a row is refused, and `on_error` is "stop"; says where it stands.
    """
    groups = many.waiting(_groups(answerer, examples, options, tally), options.max_batch_s)
    told: list[tuple[int, Answer]] = []
    for _, ended in many.answered(answerer, groups, options.max_batch_s):
        for i, answer in ended:
            if isinstance(answer, ValueError):
                _aside(examples.manifest, i, answer, options, tally)
            else:
                told.append((i, answer))
        if told and (len(told) >= WRITTEN or not answerer.refills):
            yield told
            told = []
    if told:
        yield told


def _groups(answerer: Answerer, examples: Examples, options, tally: Tally) -> Iterator[many.Group]:
    """Put rows together as they are read; what cannot be read is noted in the tally."""
    manifest = examples.manifest
    data = loader.Config(
        max_batch_s=many.share(answerer, options.max_batch_s),
        workers=options.workers,
        on_error=options.on_error,
    )
    plan = data.sampler(manifest, seed=0, shuffle=False).epoch(0)
    plan = [rows for batch in plan for rows in _alike(examples, batch)]
    keys = [(number, 0, indices) for number, indices in enumerate(plan)]
    for number, batch, errors in loader.batches(examples, data, keys):
        tally.errors += errors
        if batch is not None:
            read = set(batch.names)
            rows = [i for i in plan[number] if manifest[i]["id"] in read]
            yield _group(answerer, examples, options, batch, rows)


def _alike(examples: Examples, rows) -> list[list[int]]:
    """Part rows of which encoder states are stored from others: one batch holds the same of all."""
    found: dict[frozenset, list[int]] = {}
    for i in map(int, rows):
        every = [(examples.controls.get(p["type"]), p) for p in parts(examples.manifest[i])]
        heard = [control.part(part) if control else part for control, part in every]
        stored = frozenset(part["type"] for part in heard if media.encoded(part))
        found.setdefault(stored, []).append(i)
    return list(found.values())


def _group(answerer: Answerer, examples: Examples, options, batch, rows: list[int]) -> many.Group:
    def make(chosen: list[int]):
        # one that is refused in a batch is read again, alone
        made = batch if chosen == rows else answerer.batch([examples.make(0, i) for i in chosen])
        return made, _bounds(examples, chosen, options)

    lengths = [max(seconds(examples.manifest[i]), 1.0) for i in rows]
    return many.Group(rows, len(rows) * max(lengths), make)


def _bounds(examples: Examples, indices: list[int], options) -> list[int]:
    rows = [examples.manifest[i] for i in indices]
    # there may be much to say of one picture: what it costs bounds nothing
    lengths = [0.0 if any(map(media.timeless, parts(row))) else seconds(row) for row in rows]
    return [room.bound(s, options.max_tokens_per_s, options.max_tokens) for s in lengths]


def _aside(manifest, i: int, error: ValueError, options, tally: Tally) -> None:
    where = f"{manifest.path}:{manifest.line(i)}: utterance {manifest[i]['id']!r}: {error}"
    if options.on_error == "stop":
        raise ValueError(f"{where} (--on-error skip goes on without it)") from None
    tally.errors.append(where)
