"""Who writes down what is said in a window of sound: a model of ours, or a recogniser as it is.

    listener = load("exp/mini", "cpu", Wanted(), {})             # or "openai/whisper-base"
    listener = OfSpeech(speechllm.load("exp/mini"), Wanted("translate", "de"))
    listener([wave, other])          # waves (N,) at listener.sampling_rate -> one text each

A listener has `sampling_rate`, `window_s` (the longest window it hears), `cost(seconds)` (what a
window counts for in a batch) and `identity` (all that a text depends on besides the sound).
`many` hears any number, as room allows; `timed` hears as the call does and gives words with their
times, too; `untimed` says why it cannot, and is "" where it can.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from speechllm import config, places
from speechllm.data import loader
from speechllm.data.asked import asked
from speechllm.data.chat import Builder
from speechllm.decode import hotwords, record, room, search, settings
from speechllm.decode.of_recogniser import OfRecogniser
from speechllm.decode.requests import Request
from speechllm.decode.timing import Timer
from speechllm.decode.transcript import Heard
from speechllm.decode.wanted import MOST_S, Listener, Wanted, lengthened, refuse_unwritable
from speechllm.models import recognisers
from speechllm.models.fingerprint import fingerprint

TOKENS_PER_S = 25.0  # no language is spoken faster, even spelled letter by letter
USUAL_PER_S = 6.0  # tokens of ordinary speech, for which the LLM must have room
WINDOWED = ("asr", "translate")  # tasks whose answers to parts are the answer to the whole


class OfSpeech(Listener):
    """A speech LLM as a listener.

    Args:
        speech: of `speechllm.load`.
        wanted: what is asked of each window.
        options: how to search, fields of `search.Config`; none: as the preset says for its task.

    Raises:
        ValueError: a task that cannot be asked of windows, or wants a language that is not given.
    """

    def __init__(self, speech, wanted: Wanted = Wanted(), **options):  # noqa: B008  # frozen
        self.speech, self.wanted = speech, wanted
        system = speech.system
        self.sampling_rate = system.extractor.sampling_rate
        name = "asr" if wanted.task == "transcribe" else wanted.task
        own = asked(system.preset)
        self.table = own if name in ("", own.get("name")) else asked(system.preset, name)
        self._options = settings.usual(system.preset, options, name)
        if (name := self.table.get("name")) not in WINDOWED:
            raise ValueError(
                f"task {name!r}: its answers to parts of a sound are no answer to the whole; "
                f"wanted one of {', '.join(WINDOWED)} (--task), or ask about one short sound"
            )
        self._task = config.part("tasks", self.table, f"{system.preset.source} [task]")
        self._row = {"id": "asked", "audio": "", "text": "", "translation": ""}
        if name == "translate":
            self._row |= self._languages()
        if wanted.hotwords:
            refuse_unwritable(wanted.hotwords, system.tokenizer)
            if not getattr(self._task, "hotwords", ""):
                raise ValueError(
                    "hotwords: this model's prompt has no place for them (its preset's [task] "
                    'hotwords = "... {}")'
                )
            self._row["hotwords"] = list(wanted.hotwords)
        self._messages = self._task.messages(self._row)

    def _languages(self) -> dict:
        source = self.wanted.language or self._task.source
        if not source:
            raise ValueError("task 'translate': which language is spoken? (--language CODE)")
        return {"lang": source, "translation_lang": self._task.target or self.wanted.to}

    @property
    def needless(self) -> str:
        """Say which wish has no effect, "" for none."""
        if self.wanted.language and self.table["name"] == "asr":
            return "this model's prompt names no language: --language has no effect"
        return ""

    @cached_property
    def window_s(self) -> float:
        """Longest window: what encoder and front end take, training had and the LLM reads."""
        system = self.speech.system
        front, encoder = system.extractor, system.encoder
        options = front.options()
        data = system.preset.section("data", loader.Config)
        limits = [MOST_S, data.max_duration_s, options.get("pad_to_s") or MOST_S]
        for frames in (options.get("pad_to_frames"), getattr(encoder, "most_frames", 0)):
            limits += [frames / front.frame_rate_hz] if frames else []
        seconds = min(limits)
        while seconds > 1.0 and not self._fits(seconds):
            seconds *= 0.9
        return max(seconds, 1.0)

    def _fits(self, seconds: float) -> bool:
        """Say whether the LLM can read a window of this length and answer it."""
        system, limit = self.speech.system, room.positions(self.speech.model)
        soft = system.soft_tokens(system.extractor.count(round(seconds * self.sampling_rate)))
        prompt = len(Builder.of(system).build(self._messages, [soft], answer=False).ids)
        return not limit or prompt + USUAL_PER_S * seconds + room.SPARE <= limit

    def cost(self, seconds: float) -> float:
        """Give what a window counts for: where the front end fills it up, all of that."""
        return max(seconds, self.speech.system.extractor.options().get("pad_to_s") or 0.0)

    @property
    def identity(self) -> dict:
        """All that a text depends on besides the sound."""
        preset = self.speech.system.preset
        return {
            "weights": fingerprint(self.speech.model),
            "system": {n: preset.tables[n] for n in record.NOUNS if n in preset.tables},
            "task": self.table,
            "languages": [self._row.get("lang", ""), self._row.get("translation_lang", "")],
            "search": self.search.facts(),
            **({"hotwords": list(self.wanted.hotwords)} if self.wanted.hotwords else {}),
        }

    @property
    def untimed(self) -> str:
        """Say why words have no times of their own, "" where they have."""
        if self.table["name"] != "asr":
            return "words of a translation have no place in the sound"
        return self._timer.why

    @cached_property
    def _timer(self) -> Timer:
        return Timer(self.speech.system, self.speech.model)

    def many(
        self, waves: Sequence[np.ndarray], max_batch_s: float, words: bool = False
    ) -> Iterator[tuple[int, Heard | ValueError]]:
        """See `Listener.many`."""
        timer = self._timer if words and not self.untimed else None
        costs = [self.cost(len(wave) / self.sampling_rate) for wave in waves]

        def requests(numbers: list[int]):
            return self.requests([waves[i] for i in numbers])

        given = {"timer": timer, **self._options}
        for i, one in self.speech.many(requests, costs, max_batch_s, **given):
            refused = isinstance(one, ValueError)
            yield i, one if refused else Heard(self.read(one.text), one.words)

    def requests(self, waves: Sequence[np.ndarray]) -> tuple[list[Request], list[int]]:
        """Say what each wave is asked, and how many tokens its answer may have."""
        waves = [lengthened(wave, self.sampling_rate) for wave in waves]
        seconds = [len(wave) / self.sampling_rate for wave in waves]
        requests = [Request([wave], asked, "a window") for wave, asked in
                    zip(waves, self._asked(waves), strict=True)]  # fmt: skip
        return requests, [room.bound(s, TOKENS_PER_S, room.SPARE) for s in seconds]

    def _asked(self, waves: Sequence[np.ndarray]) -> list[list[dict]]:
        """Give the messages of each wave: its CTC head, if there is one, chooses the hotwords."""
        if not self.wanted.hotwords or self._timer.why:
            return [self._messages] * len(waves)
        row, plain = self._row, self._task.messages(self._row | {"hotwords": []})
        requests = [Request([wave], plain, "a window") for wave in waves]
        chosen = hotwords.near(self.speech, self._timer, requests, self.wanted.hotwords)
        return [self._task.messages(row | {"hotwords": words}) for words in chosen]

    @property
    def search(self) -> search.Config:
        """How it searches."""
        return search.Config(**self._options)

    @property
    def plain(self) -> bool:
        """Whether an answer's text is what was said, as it stands."""
        return not hasattr(self._task, "read")

    def read(self, text: str) -> str:
        """Give what was said of an answer's text."""
        read = getattr(self._task, "read", None)
        return (read(text, self._row)["hyp"] if read else text).strip()


def ours(model) -> Path | None:
    """Return the folder of a model of ours; None: a recogniser of transformers, if anything."""
    place = places.find(model)
    return None if place is None or (place / "config.json").is_file() else place


def load(model, device: str, wanted: Wanted, options: dict):
    """Load what listens: a model of ours, or a recogniser of transformers by folder or Hub name.

    Args:
        model: which one.
        device: where it computes.
        wanted: what is asked of each window.
        options: how to search, for a model of ours.

    Raises:
        ValueError: it is neither, or cannot do what is wanted.
    """
    from speechllm.decode.speech import Speech

    if place := ours(model):
        return OfSpeech(Speech.load(place, device), wanted, **options)
    if set_ := [k for k, v in options.items() if v != getattr(search.Config(), k)]:
        raise ValueError(
            f"--{set_[0].replace('_', '-')}: {model} searches as its checkpoint says; this is for "
            "models of ours"
        )
    return OfRecogniser(recognisers.load(str(model), device, guarded=True), wanted)
