"""What of a manifest a task cannot ask or a score cannot count, found before anything is computed.

The index knows the first line of each kind of row (`rows.kind`), whichever stands where: those are
asked, without reading their media, and speak for all others.
"""

import functools
from collections.abc import Iterator

import numpy as np

from speechllm import media
from speechllm.data import chat
from speechllm.data.batch import Kind
from speechllm.data.examples import Examples


def rows(examples: Examples) -> None:
    """Ask a row of each kind of the manifest's whole file, in each form that its task may draw.

    Raises:
        ValueError: what a row lacks or has wrong, with file, line and id.
    """
    for line, row in examples.manifest.kinds():
        try:
            for messages in _asked(examples, row):
                counts = [1] * len(chat.media(messages))
                examples.builder.build(messages, counts, examples.answer)
                examples.more(row, messages, counts)
        except (KeyError, ValueError) as error:
            raise examples.wrong(error, line, row) from None


def stored(examples: Examples) -> None:
    """Refuse stored states that cannot be used, of the first row of each kind.

    Raises:
        ValueError: the encoder learns, is another one, or [augment] changes what it hears.
    """
    rng = np.random.default_rng(0) if examples.augment else None
    for line, row in examples.manifest.kinds():
        try:
            for part in chat.media(examples.messages(row)):
                if media.encoded(part):
                    examples.stored(part, rng)
        except (KeyError, ValueError) as error:
            raise examples.wrong(error, line, row) from None


def _asked(examples: Examples, row: dict) -> Iterator[list[dict]]:
    task = examples.task_of(row)
    drawn = examples.answer and row.get("messages") is None and hasattr(task, "forms")
    return (examples.messages(row, None, form) for form in (task.forms() if drawn else [task]))


def unspelled(examples: Examples, most: int = 1000) -> str:
    """Say how many answers have no token of their own: all unknown to the tokenizer, or nothing.

    Args:
        examples: of which at most `most`, evenly spread, are looked at; no medium is read.
        most: see there.
    """
    tokenizer, rows = examples.builder.tokenizer, len(examples.manifest)
    looked = range(0, rows, -(-rows // most))

    @functools.cache
    def says(id: int) -> bool:  # what stands for a space alone says nothing
        return id != tokenizer.unk_token_id and bool(tokenizer.decode([id]).strip())

    wrong = []
    for index in looked:
        row = examples.manifest[index]
        messages = examples.messages(row, None)
        said = _answer(messages)
        encoded = examples.builder.build(messages, [1] * len(chat.media(messages)))
        ids = [i for i, k in zip(encoded.ids, encoded.kinds, strict=True) if k is Kind.ANSWER]
        if said.strip() and not any(map(says, ids)):
            wrong.append((row["id"], said))
    if not wrong:
        return ""
    share = f"{len(wrong)} of {len(looked)} answers" + (" looked at" if len(looked) < rows else "")
    return (
        f"{examples.manifest.path}: {share} hold nothing that the tokenizer knows, such as "
        f"{wrong[0][1][:40]!r} ({wrong[0][0]}): they teach only where to end"
    )


def _answer(messages: list[dict]) -> str:
    """Give the text of the assistant's turns."""
    turns = [m["content"] for m in messages if m["role"] == "assistant"]
    parts = [[{"text": turn}] if isinstance(turn, str) else turn for turn in turns]
    return " ".join(part.get("text") or "" for turn in parts for part in turn)


def references(examples: Examples) -> None:
    """See that every row has as many references as the others, or none has one.

    Raises:
        ValueError: it has not, with file and line.
    """
    first: dict[int, int] = {}
    for line, row in examples.manifest.kinds():
        task = examples.task_of(row)
        reference = task.reference(row) if hasattr(task, "reference") else row.get("text")
        first.setdefault(
            len(reference) if isinstance(reference, list) else int(reference is not None), line
        )
    if len(first) > 1:
        (fewest, at), *_, (most, other) = sorted(first.items())
        raise ValueError(
            f"{examples.manifest.path}:{at}: references: {fewest or 'none'}, but line {other} has "
            f"{most}; a score wants as many for each example: add some, or keep the first of each"
        )
