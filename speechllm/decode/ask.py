"""Asking a model: requests become examples, and many examples are answered in one batch.

    requests = [Request([wave]), Request([one, other], "Which one is longer?")]
    answerer = Answerer(system, model, search.Config(num_beams=4))
    batch = answerer.batch([example(system, request) for request in requests])
    for answer in answerer(batch, [200, 200]):
        print(answer.text, answer.score)

`decode/speech.py` does this for a user, `decode/run.py` for a manifest.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from speechllm import config
from speechllm.data import chat
from speechllm.data.asked import asked
from speechllm.data.batch import Batch, Kind
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.decode import room, search
from speechllm.decode.answer import Answer
from speechllm.decode.filters import Filter
from speechllm.decode.flow import Begun, flowing
from speechllm.decode.heard import Heard, draft_of, head_of, spelling_of
from speechllm.decode.timing import Timer
from speechllm.models import sliced
from speechllm.models.llm import ends, outputs_among
from speechllm.models.model import Pass, SpeechLLM
from speechllm.models.reading import Reading, joins
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
        if settings.ctc_weight:
            self.spelling = spelling_of(model, self.builder.tokenizer, settings.by == "fusion")
        self.stops = self.builder.stops | ends(model.llm)
        self.positions = room.positions(model)
        self.bf16 = precision == "bf16"
        self.timer = timer

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
            result, settings = self.model(batch), self.settings
            tokenizer, heard = self.builder.tokenizer, None
            if settings.ctc_weight or settings.by == "ctc":
                heard = Heard.of(result, tokenizer, self.spelling)
            if settings.by == "ctc":
                found = heard.answers(tokenizer, settings.length_penalty)
                return self._timed(result, found)
            sounds = result
            if settings.by == "fusion":
                result = self.model(self._text(batch.names).to(batch.ids.device))
            joint = [heard.joint(settings, self.stops)] if settings.joint else []
            bounds = self._shortened(result, bounds)
            settings = self._fitting(result, bounds, settings)
            with self._narrowed():
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
                )
            if settings.ctc_at == "end" and heard:
                answers = [heard.ranked(row, one, settings) for row, one in enumerate(answers)]
            return self._timed(sounds, [answer.read(self.text) for answer in answers])

    @property
    def refills(self) -> bool:
        """Whether answers that have ended can make room for others (`decode/flow.py`)."""
        plain = self.settings.num_beams == 1 and not self.settings.uses_ctc and not self.timer
        return plain and joins(self.model)

    @torch.no_grad()
    def begun(self, batch: Batch, bounds: list[int], cost: float) -> Begun:
        """Read the prompts of a batch, for `flowing`; `cost` is what it takes of the room there.

        Raises:
            ValueError: as of a call.
        """
        batch = batch.to(next(self.model.parameters()).device)
        with torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.bf16):
            result = self.model(batch)
            bounds = self._shortened(result, bounds)
            with result.joined() as embeddings:
                return Begun(Reading(result, embeddings), bounds, batch.names, cost)

    @torch.no_grad()
    def flowing(self, groups: Iterator[Begun], room: float) -> Iterator[tuple[int, Answer]]:
        """Answer groups of prompts as `flow.flowing` does: (number, answer) in order of ends."""
        pad = self.builder.tokenizer.pad_token_id
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            found = flowing(groups, self.stops, pad, room, self.settings, self.filters)
            for number, answer in found:
                yield number, answer.read(self.text)

    def _fitting(self, result: Pass, bounds: list[int], settings: search.Config) -> search.Config:
        """Take fewer beams where there is no memory for as many."""
        if settings.num_beams == 1:
            return settings
        rows, size = result.layout.ids.shape
        free = room.available(result.layout.ids.device)
        n = room.beams(self.model.llm, settings.num_beams, rows, size + max(bounds), free)
        return replace(settings, num_beams=n, num_best=min(n, settings.num_best))

    def _narrowed(self):
        """Make the context in which a deaf LLM has to do with what can be written alone.

        What it says of a piece is then its probability among those.
        """
        llm = self.model.llm
        if self.settings.by != "fusion" or not sliced.fits(llm):
            return contextlib.nullcontext()
        weight = llm.get_output_embeddings().weight
        writable = ~self.spelling.strange(len(weight))
        writable[sorted(self.stops)] = True
        return outputs_among(llm, writable.nonzero()[:, 0].to(weight.device))

    def _shortened(self, result: Pass, bounds: list[int]) -> list[int]:
        # what a slot reserves may be more than its soft tokens: only the adapter knows
        lengths = (result.layout.segments > 0).sum(1).tolist()
        return room.shortened(bounds, lengths, self.positions)

    def _timed(self, sounds: Pass, answers: list[Answer]) -> list[Answer]:
        return self.timer(sounds, answers) if self.timer else answers

    def _text(self, names: Sequence[str]) -> Batch:
        """Make prompts of text alone: what a language model reads before anything is said."""
        tokenizer = self.builder.tokenizer
        ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        # where no token begins a text, a new line does
        words = self.settings.lm_prompt or ("" if ids else "\n")
        ids += tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
        prompt = chat.Encoded(ids, [Kind.PROMPT] * len(ids), [])
        return self.batch([Example({"id": name}, prompt, [], []) for name in names])

    def batch(self, examples: list[Example]) -> Batch:
        """Put examples side by side."""
        return collate(examples, self.builder.tokenizer.pad_token_id)

    def text(self, ids: list[int]) -> str:
        """What an answer's ids say."""
        return self.builder.tokenizer.decode(ids, skip_special_tokens=True).strip()


def example(system: System, request: Request) -> Example:
    """Make the example of a request.

    Raises:
        ValueError: what the front end refuses; a wave too short for a soft token; waves and audio
            parts that differ in number; a task that wants more than sound.
    """
    heard = [system.extractor(wave) for wave in request.waves]
    counts = [system.soft_tokens(n) for _, n in heard]
    if 0 in counts:
        raise ValueError(
            f"{request.name}: wave {counts.index(0)} is too short: it gives no soft token"
        )
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
