"""Generation by transformers' `generate`, bounded row by row: by length, and by a loop guard."""

from dataclasses import dataclass

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from speechllm.models.model import Pass


@dataclass(frozen=True)
class Answer:
    """Ids of an answer without its close, and why it ended: "eos", "length" or "loop"."""

    ids: list[int]
    stop: str


class _Bound(StoppingCriteria):
    """Ends a row at its own number of tokens, whatever the rest of the batch does."""

    def __init__(self, bounds: torch.Tensor):
        self.bounds = bounds

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        # beam search asks for several candidates a row
        bounds = self.bounds.repeat_interleave(len(input_ids) // len(self.bounds))
        return bounds <= input_ids.shape[1]


class _Loop(StoppingCriteria):
    """Ends a row whose last tokens are one n-gram `repeats` times over, n up to `longest`."""

    def __init__(self, repeats: int, longest: int = 8):
        self.repeats, self.longest = repeats, longest

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        ends = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        for n in range(1, self.longest + 1):
            size = n * self.repeats
            if input_ids.shape[1] < size:
                break
            tail = input_ids[:, -size:].reshape(len(input_ids), self.repeats, n)
            ends |= (tail == tail[:, :1]).flatten(1).all(1)
        return ends


@torch.no_grad()
def generate(
    result: Pass, bounds: list[int], stop: int, pad: int, num_beams: int = 1, max_repeats: int = 10
) -> list[Answer]:
    """Generate an answer for each row of a pass, greedily or by beam search.

    Args:
        result: a pass over a batch of prompts (left-padded).
        bounds: most tokens of each row's answer.
        stop: id that ends an answer.
        pad: the tokenizer's pad id.
        num_beams: 1 is greedy.
        max_repeats: repetitions of one n-gram at which a row is ended as a loop, 0: no guard.
    """
    device = result.batch.ids.device
    criteria: list = [_Bound(torch.tensor(bounds, device=device))] + (
        [_Loop(max_repeats)] if max_repeats else []
    )
    settings = GenerationConfig(
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=max(bounds),
        eos_token_id=stop,
        pad_token_id=pad,
        suppress_tokens=[pad],  # padding is never an answer; it marks rows that have ended
    )
    out = result.model.llm.generate(
        inputs_embeds=result.embeddings,
        attention_mask=result.layout.segments,
        generation_config=settings,
        stopping_criteria=StoppingCriteriaList(criteria),
    )
    pairs = zip(out.tolist(), bounds, strict=True)
    return [_answer(ids, bound, stop, pad) for ids, bound in pairs]


def _answer(ids: list[int], bound: int, stop: int, pad: int) -> Answer:
    ids = ids[:bound]  # beam search closes a row at its bound itself
    if stop in ids:
        return Answer(ids[: ids.index(stop)], "eos")
    while ids and ids[-1] == pad:
        ids.pop()
    return Answer(ids, "length" if len(ids) == bound else "loop")
