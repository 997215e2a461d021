"""Requests become examples: sounds, and what is asked about them.

requests = [Request([wave]), Request([one, other], "Which one is longer?")]
examples = [example(system, request) for request in requests]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from speechllm import config
from speechllm.data import chat
from speechllm.data.asked import asked
from speechllm.data.examples import Example
from speechllm.models.system import System


@dataclass(frozen=True)
class Request:
    """What is asked.

    Attributes:
        waves: sounds, (N,) each, at the front end's sampling rate.
        question: said after them; or whole chat messages, whose `{"type": "audio"}` parts stand
            for the waves in order, and `{"type": "image"}` parts for the pictures; "" asks what the
            preset's task asks.
        name: says in messages which request it is.
        pictures: (height, width, 3) uint8 each; said before the waves where no messages say it.
    """

    waves: Sequence
    question: str | list = ""
    name: str = "asked"
    pictures: Sequence = ()


def example(system: System, request: Request) -> Example:
    """Make the example of a request.

    Raises:
        ValueError: what a front end refuses; a wave too short for a soft token; media and their
            parts that differ in number; a task that wants more than sound.
    """
    messages = request.question
    if not isinstance(messages, list):
        messages = _messages(system, request)
    kinds = [part["type"] for part in chat.media(messages)]
    frames = _frames(system, request, kinds)
    counts = [system.soft_tokens(n, kind) for kind, (_, n) in zip(kinds, frames, strict=True)]
    if 0 in counts:
        raise ValueError(f"wave {counts.index(0)} is too short: it gives no soft token")
    encoded = chat.Builder.of(system).build(messages, counts, answer=False)
    return Example({"id": request.name}, encoded, [x for x, _ in frames], [n for _, n in frames])


def _frames(system: System, request: Request, kinds: list[str]) -> list[tuple]:
    """Give frames, and how many, of each medium in the order in which the messages have them."""
    given = {"audio": request.waves, "image": request.pictures}
    for kind, some in given.items():
        if kinds.count(kind) != len(some):
            raise ValueError(
                f"{kinds.count(kind)} media in the messages, but {len(some)} given, of {kind}"
            )
    if unread := [kind for kind in kinds if kind not in system.branches]:
        raise ValueError(f"{system.preset.source} has no branch for {unread[0]}")
    media = {kind: iter(some) for kind, some in given.items()}
    return [system.branches[kind].front(next(media[kind])) for kind in kinds]


def _messages(system: System, request: Request) -> list[dict]:
    if question := request.question:
        parts = [{"type": "image"}] * len(request.pictures)
        parts += [{"type": "audio"}] * len(request.waves)
        parts.append({"type": "text", "text": question})
        return [{"role": "user", "content": parts}]
    return usual(system)


def usual(system: System) -> list[dict]:
    """Give the messages with which a preset's task asks about a sound.

    Raises:
        ValueError: a task that wants more than sound.
    """
    table = asked(system.preset)
    task = config.part("tasks", table, f"{system.preset.source} [task]")
    try:
        return task.messages({"id": "asked", "audio": "", "text": ""})
    except KeyError as error:
        raise ValueError(
            f"the task {table['name']!r} wants {error} besides the sound; give a question"
        ) from None
