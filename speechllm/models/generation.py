"""Generation, bounded row by row: by length, and by a loop guard.

Greedy search is a loop of our own, beam search transformers' `generate`.

The greedy loop asks the LLM for one position's logits a step, and rows whose answers have ended
leave the batch: in a batch of mixed lengths the long answers do not pay for the short ones.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from speechllm.models.model import Pass

LONGEST = 8  # n-grams up to this size are looked for by the loop guard
CROWDED = 0.75  # share of rows that go on, from which copying the cache to drop the others pays


@dataclass(frozen=True)
class Answer:
    """Ids of an answer without its close, and why it ended: "eos", "length" or "loop"."""

    ids: list[int]
    stop: str


def loops(ids: list[int], repeats: int) -> bool:
    """Say whether the last ids are one n-gram `repeats` times over, n up to `LONGEST`; 0: never."""
    for n in range(1, LONGEST + 1):
        size = n * repeats
        if not size or len(ids) < size:
            return False
        if ids[-size : len(ids) - n] == ids[len(ids) - size + n :]:
            return True
    return False


@torch.no_grad()
def generate(
    result: Pass,
    bounds: list[int],
    stops: Collection[int],
    pad: int,
    num_beams: int = 1,
    max_repeats: int = 10,
) -> list[Answer]:
    """Generate an answer for each row of a pass, greedily or by beam search.

    Args:
        result: a pass over a batch of prompts (left-padded).
        bounds: most tokens of each row's answer, at least 1.
        stops: ids that end an answer, any of them.
        pad: the tokenizer's pad id.
        num_beams: 1 is greedy.
        max_repeats: repetitions of one n-gram at which a row is ended as a loop, 0: no guard.
    """
    if num_beams > 1:
        return _beams(result, bounds, stops, pad, num_beams, max_repeats)
    rows = [_Row(bound, stops, max_repeats) for bound in bounds]
    state = _State.begin(result)
    going = rows
    while True:
        ids = state.next_ids(pad)
        for row, id in zip(going, ids.tolist(), strict=True):
            row.add(id)
        left = [i for i, row in enumerate(going) if not row.why]
        if not left:
            return [Answer(row.ids, row.why) for row in rows]
        if len(left) <= CROWDED * len(going):
            kept = torch.tensor(left, device=ids.device)
            going, ids = [going[i] for i in left], ids[kept]
            state.keep(kept)
        state.step(ids)


@dataclass
class _Row:
    """One answer as it grows; after its end it takes no more."""

    bound: int
    stops: Collection[int]
    repeats: int
    ids: list[int] = field(default_factory=list)
    why: str = ""

    def add(self, id: int) -> None:
        if self.why:
            return
        if id in self.stops:
            self.why = "eos"
            return
        self.ids.append(id)
        if len(self.ids) >= self.bound:
            self.why = "length"
        elif loops(self.ids, self.repeats):
            self.why = "loop"


@dataclass
class _State:
    """What the LLM has read: its cache, who is padding (B, S), the next position (B, 1)."""

    result: Pass
    cache: DynamicCache
    mask: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor

    @classmethod
    def begin(cls, result: Pass) -> "_State":
        """Read the prompts."""
        layout, llm = result.layout, result.model.llm
        cache = DynamicCache(config=llm.config.get_text_config())
        logits = llm(
            inputs_embeds=result.embeddings,
            attention_mask=layout.segments,
            position_ids=layout.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return cls(result, cache, layout.segments, layout.positions[:, -1:] + 1, logits)

    def next_ids(self, pad: int) -> torch.Tensor:
        """Most probable next ids (B,); padding is never an answer."""
        self.logits[:, -1, pad] = -torch.inf
        return self.logits[:, -1].argmax(-1)

    def step(self, ids: torch.Tensor) -> None:
        """Read one more id a row (B,)."""
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)
        self.logits = self.result.model.llm(
            input_ids=ids[:, None],
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits
        self.positions = self.positions + 1

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (n,) alone."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]
        self.result.model.fusion.keep(rows)


class _Bound(StoppingCriteria):
    """Ends a row at its own number of tokens, whatever the rest of the batch does."""

    def __init__(self, bounds: torch.Tensor):
        self.bounds = bounds

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        # beam search asks for several candidates a row
        bounds = self.bounds.repeat_interleave(len(input_ids) // len(self.bounds))
        return bounds <= input_ids.shape[1]


class _Loop(StoppingCriteria):
    """Ends a row that loops."""

    def __init__(self, repeats: int):
        self.repeats = repeats

    def __call__(self, input_ids: torch.Tensor, scores, **_) -> torch.Tensor:
        found = [loops(ids, self.repeats) for ids in input_ids.tolist()]
        return torch.tensor(found, device=input_ids.device)


def _beams(result: Pass, bounds, stops, pad: int, num_beams: int, max_repeats: int):
    limits = torch.tensor(bounds, device=result.batch.ids.device)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=max(bounds),
        eos_token_id=sorted(stops),
        pad_token_id=pad,
        suppress_tokens=[pad],  # padding is never an answer; it marks rows that have ended
    )
    out = result.model.llm.generate(
        inputs_embeds=result.embeddings,
        attention_mask=result.layout.segments,
        generation_config=settings,
        stopping_criteria=StoppingCriteriaList([_Bound(limits), _Loop(max_repeats)]),
    )
    pairs = zip(out.tolist(), bounds, strict=True)
    return [_answer(ids, bound, stops, pad) for ids, bound in pairs]


def _answer(ids: list[int], bound: int, stops: Collection[int], pad: int) -> Answer:
    ids = ids[:bound]  # beam search closes a row at its bound itself
    ends = [i for i, id in enumerate(ids) if id in stops]
    if ends:
        return Answer(ids[: ends[0]], "eos")
    while ids and ids[-1] == pad:
        ids.pop()
    return Answer(ids, "length" if len(ids) == bound else "loop")
