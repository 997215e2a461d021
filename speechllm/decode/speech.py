"""One object for a user: a model that listens and answers.

speech = speechllm.load("exp/mini")
speech.ask("a.flac")                                  # what its task asks
speech.ask([wave, "b.flac"], "Which one is longer?")  # waves (N,) or files, own words
speech.transcribe(["a.flac", "hour.mp3"])             # many, in batches, of any length
stream = speech.stream(sampling_rate=48000)           # words while somebody speaks
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from speechllm.data.asked import asked
from speechllm.decode import many, search, settings
from speechllm.decode.answer import Answer
from speechllm.decode.ask import Answerer
from speechllm.decode.filters import Filter
from speechllm.decode.grouping import groups
from speechllm.decode.listeners import TOKENS_PER_S, WINDOWED, OfSpeech
from speechllm.decode.live import Live
from speechllm.decode.requests import Request, example
from speechllm.decode.room import Room, bound
from speechllm.decode.timing import Timer
from speechllm.decode.transcribe import Options, said
from speechllm.media import audio
from speechllm.models import store
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System

MAX_TOKENS = 200


class Speech:
    """A system and its model.

    Attributes:
        system: front end, tokenizer, preset.
        model: the network, in evaluation mode.
    """

    def __init__(self, system: System, model: SpeechLLM):
        self.system, self.model = system, model.eval()
        self._room = Room(system, model)

    @classmethod
    def load(cls, folder, device: str = "cpu") -> "Speech":
        """Load a trained or imported model: an experiment, a phase, a checkpoint.

        Raises:
            ValueError: the folder is none of these, or not a whole one.
        """
        system, model = store.load(store.find(folder))
        return cls(system, model.to(device))

    def __repr__(self) -> str:
        n = sum(parameter.numel() for parameter in self.model.parameters())
        device = next(self.model.parameters()).device
        return f"Speech({self.system.preset.name!r}, {n / 1e6:.1f} M parameters, {device})"

    @property
    def sampling_rate(self) -> int:
        """Samples a second that waves must have; files are brought to it."""
        return self.system.extractor.sampling_rate

    def ask(
        self, sounds, question: str | list = "", max_tokens: int = MAX_TOKENS, **options
    ) -> str:
        """Answer a question about sounds; "" where the model says nothing.

        What the task asks of one sound that is longer than the model hears at once is answered
        window by window, as by `transcribe`; other questions are about the whole.

        Args:
            sounds: a wave (N,) at `sampling_rate`, a file's name, or a list of these.
            question: said after the sounds, or whole chat messages; "" asks what the task asks.
            max_tokens: most tokens of the answer, not of one put together of windows.
            options: how to search, fields of `search.Config`: num_beams, temperature, seed, ...;
                and filters, what may be said next (`decode/filters.py`). Where no field is given
                and the task asks, the preset's `[search]` says how.

        Raises:
            ValueError: what cannot be read, or is too long for the model or the machine.
        """
        every = sounds if isinstance(sounds, list) else [sounds]
        if not question and len(every) == 1 and self._is_long(every[0]):
            return self.transcribe(every[0], **options)
        request = Request([self._wave(sound) for sound in every], question, _name(every[0]))
        options = options if question else settings.usual(self.system.preset, options)
        return self.answers([request], [max_tokens], **options)[0].text

    def transcribe(self, sounds, max_batch_s: float = 200.0, vad: str = "auto", **options):
        """Say of each sound what the task asks: of one a text, of a list a list of texts.

        Sounds longer than the model hears at once are cut at pauses (`decode/long.py`), where the
        task is to write down or to translate what is said; "" where nobody speaks.

        Args:
            sounds: files or waves, one or a list of them.
            max_batch_s: how much is computed at once, sounds times the longest, in seconds.
            vad: who finds speech in long ones, one of `voice.KINDS`.
            options: as of `ask`.

        Raises:
            ValueError: as of `ask`; names the file.
        """
        if not isinstance(sounds, list | tuple):
            return self.transcribe([sounds], max_batch_s, vad, **options)[0]
        options = settings.usual(self.system.preset, options)
        lengths = [self._seconds(sound) for sound in sounds]
        texts = [""] * len(sounds)
        long = [i for i in range(len(sounds)) if self._is_long(sounds[i])]
        for i in long:
            cut = Options(vad=vad, max_batch_s=max_batch_s)
            texts[i] = said(OfSpeech(self, **options), sounds[i], cut)
        short = [i for i in range(len(sounds)) if i not in long]

        def requests(numbers: list[int]) -> tuple[list[Request], list[int]]:
            chosen = [short[number] for number in numbers]
            bounds = [bound(lengths[i], TOKENS_PER_S, MAX_TOKENS) for i in chosen]
            return [Request([self._wave(sounds[i])]) for i in chosen], bounds

        costs = [lengths[i] for i in short]
        for number, answer in self.many(requests, costs, max_batch_s, **options):
            texts[short[number]] = _told(answer, _name(sounds[short[number]])).text
        return texts

    def stream(
        self, sampling_rate: int = 0, every_s: float = 0.5, vad: str = "auto", **options
    ) -> Live:
        """Listen to sound that is still coming: see `decode/live.py`.

        Args:
            sampling_rate: of the chunks that the stream will be called with; 0: the model's.
            every_s: seconds of new sound after which it is heard again.
            vad: who finds speech, one of `voice.KINDS`.
            options: fields of `search.Config`.

        Raises:
            ValueError: the model's task is not one of windows.
        """
        return Live(OfSpeech(self, **options), sampling_rate, every_s, vad)

    def answers(self, requests: list[Request], bounds: list[int], **options) -> list[Answer]:
        """Answer several requests in one batch, each with at most so many tokens.

        Args:
            requests: at least one.
            bounds: most tokens of each answer.
            options: as of `many`.

        Raises:
            ValueError: as of `ask`; names the request.
            FloatingPointError: the model computes no numbers.
        """

        def some(numbers: list[int]) -> tuple[list[Request], list[int]]:
            return [requests[i] for i in numbers], [bounds[i] for i in numbers]

        found = dict(self.many(some, [0.0] * len(requests), math.inf, **options))
        return [_told(found[i], request.name) for i, request in enumerate(requests)]

    def many(
        self,
        requests: Callable[[list[int]], tuple[list[Request], list[int]]],
        costs: Sequence[float],
        max_batch_s: float,
        filters: Sequence[Filter] = (),
        timer: Timer | None = None,
        **options,
    ) -> Iterator[tuple[int, Answer | ValueError]]:
        """Answer many requests; yield (number, answer, or why there is none) as they end.

        Args:
            requests: gives those of these numbers and most tokens of each answer, when their turn
                has come.
            costs: seconds that each counts for.
            max_batch_s: how much is computed at once, requests times the dearest.
            filters: what may be said next (`decode/filters.py`).
            timer: puts the words of answers in, with their times (`decode/timing.py`).
            options: fields of `search.Config`.

        Raises:
            FloatingPointError: the model computes no numbers.
        """
        answerer = Answerer(self.system, self.model, search.Config(**options), filters, timer=timer)

        def make(numbers: list[int]):
            chosen, bounds = requests(numbers)
            for wave in (wave for request in chosen for wave in request.waves):
                self._room.check(len(wave) / self.sampling_rate)
            return answerer.batch([example(self.system, request) for request in chosen]), bounds

        batches = groups(costs, many.share(answerer, max_batch_s))
        found = (many.Group(rows, len(rows) * costs[rows[0]], make) for rows in batches)
        more = many.waiting(found, max_batch_s)
        for _, ended in many.answered(answerer, more, max_batch_s):
            yield from ended

    def _is_long(self, sound) -> bool:
        """Say whether a sound is longer than is heard at once, and may be cut into windows."""
        if self._window_s is None:
            return False
        return self._seconds(sound) > self._window_s

    @cached_property
    def _window_s(self) -> float | None:
        """Longest window, None where the task is not one of windows."""
        if asked(self.system.preset).get("name") not in WINDOWED:
            return None
        return OfSpeech(self).window_s

    def _wave(self, sound):
        if not isinstance(sound, str | Path):
            return sound
        seconds = self._seconds(sound)
        try:
            self._room.check(seconds)  # before all of it is in memory
        except ValueError as error:
            raise ValueError(f"{sound}: {error}") from None
        return audio.open({"audio": sound}, self.sampling_rate)

    def _seconds(self, sound) -> float:
        if isinstance(sound, str | Path):
            return audio.cost({"audio": sound})
        return len(sound) / self.sampling_rate


def _name(sound) -> str:
    return str(sound) if isinstance(sound, str | Path) else "the wave"


def _told(answer: Answer | ValueError, name: str) -> Answer:
    """Give an answer, or raise what was wrong by the name of whose it is."""
    if isinstance(answer, ValueError):
        named = str(answer).startswith(name)  # as what a file cannot be read for
        raise answer if named else ValueError(f"{name}: {answer}")
    return answer
