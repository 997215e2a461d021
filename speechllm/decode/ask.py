"""One question to a model, from Python: sound in, text out.

    system, model = speechllm.load("exp/mini")
    wave, rate = features.load("a.flac", system.extractor.sampling_rate)
    speechllm.ask(system, model, wave)  # what the preset's task asks
    speechllm.ask(system, model, [one, other], "Which one is longer?")  # several sounds, own words

Many utterances are decoded faster, and on from where it stopped, by `decode.run`.
"""

import torch

from speechllm import config
from speechllm.data import chat, examples
from speechllm.data.collate import collate
from speechllm.decode import search
from speechllm.models.llm import ends
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System


def ask(
    system: System, model: SpeechLLM, waves, question: str | list = "",
    max_tokens: int = 200, num_beams: int = 1,
) -> str:  # fmt: skip
    """Answer a question about waves.

    Args:
        system, model: from `speechllm.load`, or from a preset, `System.open(...)` and `.build()`.
        waves: one wave (N,), or a list of them, at the front end's sampling rate.
        question: said after the waves; or whole chat messages, whose `{"type": "audio"}` parts
            stand for the waves in order; "" asks what the preset's task asks.
        max_tokens: most tokens of the answer.
        num_beams: 1 is greedy.

    Raises:
        ValueError: what the front end refuses; a wave too short for a soft token; waves and audio
            parts that differ in number; a task that wants more than sound.
    """
    model.eval()
    builder = chat.Builder.of(system)
    heard = [system.extractor(wave) for wave in (waves if isinstance(waves, list) else [waves])]
    counts = [system.soft_tokens(n) for _, n in heard]
    if 0 in counts:
        raise ValueError(f"wave {counts.index(0)} is too short: it gives no soft token")
    messages = question if isinstance(question, list) else _messages(system, question, len(heard))
    encoded = builder.build(messages, counts, answer=False)
    row = examples.Example({"id": "asked"}, encoded, *map(list, zip(*heard, strict=True)))
    batch = collate([row], builder.tokenizer.pad_token_id).to(next(model.parameters()).device)
    with torch.no_grad():
        stops = builder.stops | ends(model.llm)
        limits = [max_tokens], stops, builder.tokenizer.pad_token_id
        answer = search.answers(model(batch), *limits, search.Config(num_beams))[0]
    return builder.tokenizer.decode(answer.ids, skip_special_tokens=True).strip()


def _messages(system: System, question: str, n_waves: int) -> list[dict]:
    if question:
        parts = [{"type": "audio"}] * n_waves + [{"type": "text", "text": question}]
        return [{"role": "user", "content": parts}]
    table = examples.asked(system.preset)
    task = config.part("tasks", table, f"{system.preset.source} [task]")
    try:
        return task.messages({"id": "asked", "audio": "", "text": ""})
    except KeyError as error:
        raise ValueError(
            f"the task {table['name']!r} wants {error} besides the sound; give a question"
        ) from None
