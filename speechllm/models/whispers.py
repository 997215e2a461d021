"""What is a Whisper's own among recognisers: a window of 30 s, what it is told, who watches it.

B windows.
"""

from collections.abc import Sequence

import torch
from transformers.modeling_outputs import BaseModelOutput

from speechllm.models import hub, watched
from speechllm.models.evidence import of_whisper


def prompt(recogniser, hotwords: Sequence[str]) -> torch.Tensor:
    """Make the prompt that tells a Whisper words: they stand where the text before would.

    Raises:
        ValueError: it is no Whisper, or they are more than it reads.
    """
    parts = recogniser.parts
    if not hasattr(parts.tokenizer, "get_prompt_ids") or not recogniser.window_s:
        raise ValueError(f"hotwords: {parts.name} reads no prompt")
    try:
        ids = parts.tokenizer.get_prompt_ids(", ".join(hotwords), return_tensors="pt")
    except ValueError as error:
        raise ValueError(f"hotwords: {hub.one_line(error)}") from None
    most = recogniser.model.config.max_target_positions // 2 - 1
    if len(ids) > most:
        raise ValueError(
            f"hotwords: they are {len(ids)} tokens, and {parts.name} reads {most}: give fewer"
        )
    return ids.to(recogniser.model.device)


def hear(recogniser, waves: list, lang: str, task: str, told, where: bool) -> list[tuple]:
    """Write what is said in waves of a window each, or in longer ones: [(text, evidence), ...].

    Args:
        recogniser: whose network is a Whisper.
        waves, lang, task: as `recognisers.Recogniser` is called.
        told: of `prompt`, or None.
        where: with evidence of where words are.
    """
    asked = {"language": lang or None, "task": task} if recogniser.multilingual else {}
    asked |= {} if told is None else {"prompt_ids": told}
    if len(waves[0]) > recogniser.window_s * recogniser.sampling_rate:
        how = {"padding": "longest", "truncation": False, "return_attention_mask": True}
        frames = recogniser.frames(waves, **how)
        asked |= watched.LONG if recogniser.guarded else {}
        return recogniser.read(recogniser.generated(frames, waves, return_timestamps=True, **asked))
    # Once, not once more for the language; `generate` takes them as its own.
    states = encoded(recogniser.model, recogniser.frames(waves)["input_features"])
    recogniser.refuse_no_numbers(states[0])
    ids = _said(recogniser, states, waves, asked)
    places = [None] * len(waves)
    if where:
        places = of_whisper(recogniser, states, ids, waves, lang, task, told)
    return [(text, place) for (text, _), place in zip(recogniser.read(ids), places, strict=True)]


def _said(recogniser, states: BaseModelOutput, waves: list, asked: dict) -> list[list[int]]:
    beams = recogniser.model.generation_config.num_beams or 1
    if not recogniser.guarded or beams > 1:
        return recogniser.generated({}, waves, encoder_outputs=states, **asked).tolist()
    with hub.quiet():
        return watched.said(
            recogniser.model, states, lambda ids: recogniser.read([ids])[0][0], **asked
        )


def encoded(model, frames: torch.Tensor) -> BaseModelOutput:
    """Encode windows; on a CPU one by one, which is as fast and takes the memory of one."""
    encoder = model.get_encoder()
    each = frames.split(1) if frames.device.type == "cpu" else [frames]
    return BaseModelOutput(torch.cat([encoder(one)[0] for one in each]))
