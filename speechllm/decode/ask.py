"""Asking a model: many examples are answered in one batch, or begun for others to follow.

    answerer = Answerer(system, model, search.Config(num_beams=4))
    batch = answerer.batch([example(system, request) for request in requests])
    for answer in answerer(batch, [200, 200]):
        print(answer.text, answer.score)

`decode/many.py` does this with any number of requests, `decode/speech.py` for a user.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from speechllm.data import chat
from speechllm.data.batch import Batch
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.decode import room, search
from speechllm.decode.answer import Answer
from speechllm.decode.deaf import Deaf, check_deaf, text_prompt
from speechllm.decode.filters import Filter, one_of
from speechllm.decode.flow import Begun, flowing
from speechllm.decode.heard import Heard, draft_of, head_of, spelling_of
from speechllm.decode.timing import Timer
from speechllm.models import alike, outputs, sliced
from speechllm.models.llm import ends
from speechllm.models.model import Pass, SpeechLLM
from speechllm.models.reading import begun, joins
from speechllm.models.system import System


class _Answered(NamedTuple):
    """A pass, whose answers `keys` wait for, and those that are there."""

    result: Pass
    keys: Sequence
    answers: dict


class Answerer:
    """Answers batches of prompts with one model.

    Args:
        system, model: as `store.load` gives them.
        settings: how to search.
        filters: what may be said next.
        precision: "fp32" or "bf16", of the computation.
        timer: puts the words of answers in, with their times.
    """

    def __init__(
        self,
        system: System,
        model: SpeechLLM,
        settings: search.Config = search.Config(),  # noqa: B008  # frozen
        filters: Sequence[Filter] = (),
        precision: str = "fp32",
        timer: Timer | None = None,
    ):
        self.model, self.settings, self.filters = model.eval(), settings, filters
        self.builder = chat.Builder.of(system)
        self.spelling = None
        if settings.uses_ctc:
            head_of(model)
        if settings.lm_weight:
            check_deaf(model)
        if settings.ctc_weight:
            self.spelling = spelling_of(model, self.builder.tokenizer, settings)
        self.stops = self.builder.stops | ends(model.llm)
        if settings.choices:
            self.filters = (*filters, one_of(self._spelled(settings.choices), self.stops))
        self.positions = room.positions(model)
        self.bf16 = precision == "bf16"
        self.timer = timer
        self._passes: dict = {}  # of keys that flow and whose words are to be timed

    def _spelled(self, choices: Sequence[str]) -> list[list[int]]:
        """Give the ids of each choice, as the model would have learned to say it.

        Raises:
            ValueError: one that the tokenizer makes nothing of, or the same of as of another, or
                that has what it does not know.
        """
        spelled: dict[tuple, str] = {}
        unknown = self.builder.tokenizer.unk_token_id
        for text in choices:
            ids = tuple(self.builder.tokenizer(text, add_special_tokens=False)["input_ids"])
            if not ids or ids in spelled:
                what = f"the same as {spelled[ids]!r}" if ids else "nothing"
                raise ValueError(f"choices: {text!r} is {what} in this model's tokens")
            if unknown in ids:
                raise ValueError(f"choices: {text!r} has letters that this model cannot say")
            spelled[ids] = text
        return [list(ids) for ids in spelled]

    def __call__(self, batch: Batch, bounds: list[int]) -> list[Answer]:
        """Answer each row of a batch with at most so many tokens.

        Raises:
            ValueError: a sound longer than the encoder takes, a prompt than the LLM reads; CTC is
                to take part, and a row is not about one sound.
            FloatingPointError: the model computes no numbers.
        """
        steps = self.said(batch, bounds)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    @torch.no_grad()
    def said(self, batch: Batch, bounds: list[int]) -> Iterator[list[tuple[int, int]]]:
        """Answer as by a call, step by step: yields as `search.said`, returns the answers."""
        batch = batch.to(next(self.model.parameters()).device)
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.bf16):
            result, settings = self._pass(batch), self.settings
            tokenizer, heard = self.builder.tokenizer, None
            if settings.ctc_weight or settings.by == "ctc":
                heard = Heard.of(result, tokenizer, self.spelling)
            if settings.by == "ctc":
                found = heard.answers(tokenizer, settings.length_penalty)
                return self._timed(result, found)
            sounds, deaf = result, self._deaf(batch)
            narrowed = contextlib.nullcontext()
            if settings.by == "fusion":  # no LLM beside it
                result, narrowed, deaf = deaf.result, deaf.narrowed, None
            joint = [heard.joint(settings, self.stops)] if settings.joint else []
            bounds = self._shortened(result, bounds)
            settings = self._fitting(result, bounds, settings)
            with narrowed:
                answers = yield from search.said(
                    result,
                    bounds,
                    stops=self.stops,
                    pad=tokenizer.pad_token_id,
                    config=settings,
                    filters=(*self.filters, *joint),
                    draft=draft_of(result, tokenizer, self.builder.close[0])
                    if settings.draft
                    else None,
                    deaf=deaf,
                )
            if settings.ctc_at == "end" and heard:
                answers = [heard.ranked(row, one, settings) for row, one in enumerate(answers)]
            return self._timed(sounds, [answer.read(self.text) for answer in answers])

    def _pass(self, batch: Batch) -> Pass:
        """Start a pass; of one row, or where it is to be `exact`, with rows that are as alone."""
        one = self.settings.num_beams == 1 and not (self.settings.joint or self.settings.lm_weight)
        one = one and (self.settings.exact or len(batch.names) == 1)
        return self.model(batch, alone=one and alike.wanted(self.model.llm))

    @property
    def refills(self) -> bool:
        """Whether answers that have ended can make room for others (`decode/flow.py`)."""
        return self.settings.num_beams == 1 and self.settings.alone and joins(self.model)

    @torch.no_grad()
    def begun(self, keys: Sequence, batch: Batch, bounds: list[int], cost: float) -> Begun:
        """Read the prompts of a batch, for `flowing`; `cost` is what it takes of the room there.

        Raises:
            ValueError: as of a call.
        """
        batch = batch.to(next(self.model.parameters()).device)
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.bf16):
            result = self._pass(batch)
            bounds = self._shortened(result, bounds)
            with result.joined() as embeddings:
                reading = begun(result, embeddings)
        if self.timer:
            self._passes |= dict.fromkeys(keys, _Answered(result, keys, {}))
        return Begun(keys, reading, bounds, cost, batch.names)

    @torch.no_grad()
    def flowing(self, more, room: float, gone) -> Iterator[tuple[list, list]]:
        """Answer groups as `flow.flowing`; where words are timed, all of a group at its end."""
        pad = self.builder.tokenizer.pad_token_id
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            steps = flowing(more, self.stops, pad, room, self.settings, self.filters, gone)
            for news, ended in steps:
                ended = [(key, answer.read(self.text)) for key, answer in ended]
                yield news, self._of_groups(ended) if self.timer else ended

    def _of_groups(self, ended: list[tuple]) -> list[tuple]:
        """Keep answers until all of their group have ended; give those of whole groups, timed."""
        found = []
        for key, answer in ended:
            group = self._passes.pop(key)
            group.answers[key] = answer
            if len(group.answers) == len(group.keys):
                answers = [group.answers[key] for key in group.keys]
                found += zip(group.keys, self.timer(group.result, answers), strict=True)
        return found

    def _fitting(self, result: Pass, bounds: list[int], settings: search.Config) -> search.Config:
        """Take fewer beams where there is no memory for as many."""
        if settings.num_beams == 1:
            return settings
        rows, size = result.layout.ids.shape
        rows *= 2 if settings.lm_weight else 1  # each line is read twice
        free = room.available(result.layout.ids.device)
        n = room.beams(self.model.llm, settings.num_beams, rows, size + max(bounds), free)
        return replace(settings, num_beams=n, num_best=min(n, settings.num_best))

    def _deaf(self, batch: Batch) -> Deaf | None:
        """Start a pass of the LLM that hears nothing, where it is asked.

        Where a head takes part in each step, what it says of a piece is its probability among
        those that the head can write.
        """
        if self.settings.by != "fusion" and not self.settings.lm_weight:
            return None
        tokenizer, llm, narrowed = self.builder.tokenizer, self.model.llm, contextlib.nullcontext()
        prompt = text_prompt(tokenizer, self.settings.lm_prompt)
        texts = self.batch([Example({"id": name}, prompt, [], []) for name in batch.names])
        if self.settings.joint and sliced.fits(llm):
            weight = llm.get_output_embeddings().weight
            writable = ~self.spelling.strange(len(weight))
            writable[sorted(self.stops)] = True
            narrowed = outputs.Among(llm, writable.nonzero()[:, 0].to(weight.device))
        result = self.model(texts.to(batch.ids.device))
        return Deaf(result, self.settings.lm_weight, narrowed)

    def _shortened(self, result: Pass, bounds: list[int]) -> list[int]:
        # what a slot reserves may be more than its soft tokens: only the adapter knows
        lengths = (result.layout.segments > 0).sum(1).tolist()
        return room.shortened(bounds, lengths, self.positions)

    def _timed(self, sounds: Pass, answers: list[Answer]) -> list[Answer]:
        return self.timer(sounds, answers) if self.timer else answers

    def batch(self, examples: list[Example]) -> Batch:
        """Put examples side by side."""
        return collate(examples, self.builder.tokenizer.pad_token_id)

    def text(self, ids: list[int]) -> str:
        """What an answer's ids say."""
        return self.builder.tokenizer.decode(ids, skip_special_tokens=True).strip()
