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
            for the waves in order; "" asks what the preset's task asks.
        name: says in messages which request it is.
    """

    waves: Sequence
    question: str | list = ""
    name: str = "asked"


def example(system: System, request: Request) -> Example:
    """Make the example of a request.

    Raises:
        ValueError: what the front end refuses; a wave too short for a soft token; waves and audio
            parts that differ in number; a task that wants more than sound.
    """
    heard = [system.extractor(wave) for wave in request.waves]
    counts = [system.soft_tokens(n) for _, n in heard]
    if 0 in counts:
        raise ValueError(f"wave {counts.index(0)} is too short: it gives no soft token")
    messages = request.question
    if not isinstance(messages, list):
        messages = _messages(system, request.question, len(heard))
    encoded = chat.Builder.of(system).build(messages, counts, answer=False)
    return Example({"id": request.name}, encoded, [x for x, _ in heard], [n for _, n in heard])


def _messages(system: System, question: str, n_waves: int) -> list[dict]:
    if question:
        parts = [{"type": "audio"}] * n_waves + [{"type": "text", "text": question}]
        return [{"role": "user", "content": parts}]
    table = asked(system.preset)
    task = config.part("tasks", table, f"{system.preset.source} [task]")
    try:
        return task.messages({"id": "asked", "audio": "", "text": ""})
    except KeyError as error:
        raise ValueError(
            f"the task {table['name']!r} wants {error} besides the sound; give a question"
        ) from None
