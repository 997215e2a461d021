"""What is served: a model of ours, or a recogniser of transformers as it is.

A backend has `media` (what it takes), `sampling_rate` (0: it does not hear), `chats` (whether it
can be asked anything), `listener(wanted)` (of
`decode/listeners.py`), `window(...)` (what a window of sound asks) and `steps(pieces, more)`, which
answers these and what comes meanwhile (`engine.py`).
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from speechllm.decode import listeners, many, search
from speechllm.decode.answer import Answer
from speechllm.decode.ask import Answerer
from speechllm.decode.listeners import OfRecogniser, OfSpeech, Wanted
from speechllm.decode.requests import Request, example
from speechllm.decode.room import Room
from speechllm.decode.speech import Speech
from speechllm.decode.timing import Timer
from speechllm.decode.transcript import Heard
from speechllm.serve.engine import Job, Piece, Said


def load(model, device: str):
    """Load a model as `speechllm transcribe` does.

    Raises:
        ValueError: it is neither one of ours nor a recogniser.
    """
    if place := listeners.ours(model):
        return Ours(Speech.load(place, device))
    return Theirs(listeners.load(model, device, Wanted(), {}).recogniser)


class Ours:
    """A speech LLM: transcribes where its tasks allow it, and answers questions."""

    chats = True

    def __init__(self, speech: Speech):
        self.speech = speech
        self.media = frozenset(speech.system.branches)
        hears = "audio" in self.media
        self.sampling_rate = speech.sampling_rate if hears else 0
        self._room = Room(speech.system, speech.model)
        self._timer = Timer(speech.system, speech.model) if hears else None

    def listener(self, wanted: Wanted, temperature: float = 0.0, n_best: int = 1) -> OfSpeech:
        """Make what listens; where several answers are wanted, with as many beams.

        Raises:
            ValueError: a task that it cannot be asked, a language or temperature that is none; a
                model that does not hear.
        """
        if "audio" not in self.media:
            raise ValueError("this model hears nothing; take /v1/chat/completions")
        how = {"temperature": temperature} if temperature else {}
        if n_best > 1:
            how |= {"num_beams": n_best, "num_best": n_best}
        return OfSpeech(self.speech, wanted, **how)

    def window(self, listener: OfSpeech, wave, job: Job, told=None, words=False) -> Piece:
        """Ask what is said in a window, a wave (N,), perhaps with the times of its words.

        told: gets beginnings of what will be the text.
        """
        (request,), (bound,) = listener.requests([wave])
        cost = listener.cost(len(wave) / self.sampling_rate)
        told = told if listener.plain else None
        kind = listener.search, words and not listener.untimed
        return Piece((request, bound, listener.read), kind, cost, job, told)

    def chat(self, request: Request, bound: int, config: search.Config, job: Job, told) -> Piece:
        """Ask a question."""
        seconds = float(len(request.pictures))  # a picture counts as a second
        seconds += sum(len(wave) for wave in request.waves) / (self.sampling_rate or 1)
        cost = max(seconds, 1.0) * config.num_beams
        return Piece((request, bound, str.strip), (config, False), cost, job, told)

    def steps(self, pieces: list[Piece], more, room: float) -> Iterator[list[tuple]]:
        """Answer pieces of one search, and those that come meanwhile; see `engine.Engine`."""
        config, words = pieces[0].kind
        timer = self._timer if words else None
        answerer = Answerer(self.speech.system, self.speech.model, config, timer=timer)
        sizes: dict[Piece, int] = {}
        waiting = [pieces]

        def make(chosen: Sequence[Piece]):
            batch, bounds, lengths = self._batch(answerer, chosen)
            sizes.update(lengths)
            return batch, bounds

        def group(free: float) -> many.Group | None:
            chosen = waiting.pop() if waiting else more(free)
            cost = len(chosen) * max((piece.cost for piece in chosen), default=0.0)
            return many.Group(chosen, cost, make) if chosen else None

        ids: dict[Piece, list[int]] = defaultdict(list)
        for news, ended in many.answered(answerer, group, room, lambda one: one.job.cancelled):
            for piece, id in news:
                ids[piece].append(id)
            told = [(piece, answerer.text(ids[piece])) for piece, _ in news if piece.told]
            for piece, _ in ended:
                ids.pop(piece, None)
            yield told + [(one, _said(one, answer, sizes)) for one, answer in ended]

    def _batch(self, answerer: Answerer, pieces: Sequence[Piece]):
        """Put pieces side by side: the batch, most tokens of each answer, positions of each."""
        requests = [piece.ask[0] for piece in pieces]
        for wave in (wave for request in requests for wave in request.waves):
            self._room.check(len(wave) / self.sampling_rate)
        examples = [example(self.speech.system, request) for request in requests]
        sizes = {p: len(one.encoded.ids) for p, one in zip(pieces, examples, strict=True)}
        return answerer.batch(examples), [piece.ask[1] for piece in pieces], sizes


def _said(piece: Piece, answer: Answer | ValueError, sizes: dict) -> Said | ValueError:
    size = sizes.pop(piece, 0)
    if isinstance(answer, ValueError):
        return answer
    read = piece.ask[2]
    others = tuple((read(other.text), other.score) for other in answer.alternatives)
    text = read(answer.text)
    return Said(text, answer.ids, answer.stop, answer.score, answer.words, size, others)


class Theirs:
    """A recogniser of transformers: it transcribes, and translates where it can."""

    chats = False
    media = frozenset(["audio"])

    def __init__(self, recogniser):
        self.recogniser = recogniser
        self.sampling_rate = recogniser.sampling_rate

    def listener(self, wanted: Wanted, temperature: float = 0.0, n_best: int = 1) -> OfRecogniser:
        """Make what listens.

        Raises:
            ValueError: a translation that it cannot give; a temperature; several answers.
        """
        if n_best > 1:
            raise ValueError("n_best: this model gives one answer; wanted 1")
        if temperature:
            raise ValueError("temperature: this model searches as its checkpoint says; wanted 0")
        if not self.recogniser.multilingual:
            wanted = replace(wanted, language="")
        return OfRecogniser(self.recogniser, wanted)

    def window(self, listener: OfRecogniser, wave, job: Job, told=None, words=False) -> Piece:
        """Ask what is said in a window, a wave (N,); it is told as a whole."""
        cost = listener.cost(len(wave) / self.sampling_rate)
        return Piece((listener, wave), (listener.wanted, words), cost, job)

    def steps(self, pieces: list[Piece], more, room: float) -> Iterator[list[tuple]]:
        """Answer pieces of one wish; see `engine.Engine`."""
        yield []
        listener, waves = pieces[0].ask[0], [piece.ask[1] for piece in pieces]
        for i, heard in listener.many(waves, math.inf, pieces[0].kind[1]):
            yield [(pieces[i], heard if isinstance(heard, ValueError) else self._said(heard))]

    def _said(self, heard: Heard) -> Said:
        ids = self.recogniser.parts.tokenizer(heard.text, add_special_tokens=False).input_ids
        sure = [word.confidence for word in heard.words]
        known = bool(ids and sure) and all(sure)
        # a word's confidence is the product over its tokens
        mean = sum(map(math.log, sure)) / len(ids) if known else None
        return Said(heard.text, ids, logprob=mean, words=heard.words)
