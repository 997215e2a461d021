"""A recogniser of transformers as a listener: see `decode/listeners.py`."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from speechllm.decode import align
from speechllm.decode.grouping import groups, tried
from speechllm.decode.transcript import Heard, split
from speechllm.decode.wanted import MOST_S, Listener, Wanted, lengthened, refuse_unwritable
from speechllm.models import evidence, whispers
from speechllm.models.evidence import Evidence
from speechllm.models.recognisers import Recogniser
from speechllm.tasks import languages


class OfRecogniser(Listener):
    """A recogniser of transformers as a listener; it searches as its checkpoint says.

    Args:
        recogniser: of `recognisers.load`.
        wanted: what is asked of each window.

    Raises:
        ValueError: a translation that it cannot give.
    """

    def __init__(self, recogniser: Recogniser, wanted: Wanted = Wanted()):  # noqa: B008  # frozen
        self.recogniser, self.wanted = recogniser, wanted
        self.sampling_rate = recogniser.sampling_rate
        self.window_s = recogniser.window_s or MOST_S
        name = recogniser.parts.name
        if wanted.task not in ("", "asr", "transcribe", "translate"):
            raise ValueError(f"task: {name} can transcribe or translate, got {wanted.task!r}")
        if wanted.task == "translate" and not (recogniser.multilingual and wanted.to == "en"):
            raise ValueError(f"task: {name} does not translate into {languages.name(wanted.to)}")
        self._prompt = None
        if wanted.hotwords:
            refuse_unwritable(wanted.hotwords, recogniser.parts.tokenizer)
            self._prompt = whispers.prompt(recogniser, wanted.hotwords)

    @property
    def needless(self) -> str:
        """Say which wish has no effect, "" for none."""
        if self.wanted.language and not self.recogniser.multilingual:
            return "this model takes no language: --language has no effect"
        return ""

    def cost(self, seconds: float) -> float:
        """Give what a window counts for: Whisper fills it up; what is heard alone fills a batch."""
        return math.inf if self.recogniser.alone else max(seconds, self.recogniser.window_s)

    @property
    def untimed(self) -> str:
        """Say why words have no times of their own, "" where they have."""
        if self.wanted.task == "translate":
            return "words of a translation have no place in the sound"
        return evidence.missing(self.recogniser)

    @property
    def identity(self) -> dict:
        """All that a text depends on besides the sound."""
        wanted = dataclasses.asdict(self.wanted)
        if not wanted["hotwords"]:
            del wanted["hotwords"]
        return self.recogniser.identity | {"wanted": wanted}

    def many(
        self, waves: Sequence[np.ndarray], max_batch_s: float, words: bool = False
    ) -> Iterator[tuple[int, Heard | ValueError]]:
        """See `Listener.many`; what the checkpoint's processor or search refuses is an error."""
        hear = self._with_words if words and not self.untimed else self._texts
        costs = [self.cost(len(wave) / self.sampling_rate) for wave in waves]
        batches = groups(costs, max_batch_s)
        yield from tried(lambda numbers: hear([waves[i] for i in numbers]), batches)

    def _texts(self, waves: Sequence[np.ndarray]) -> list[Heard]:
        texts = self.recogniser(self._long_enough(waves), *self._asked(len(waves)))
        return [Heard(text) for text in texts]

    def _with_words(self, waves: Sequence[np.ndarray]) -> list[Heard]:
        found = self.recogniser.evidence(self._long_enough(waves), *self._asked(len(waves)))
        return [self._heard(text, one) for text, one in found]

    def _asked(self, n: int) -> tuple:
        task = "translate" if self.wanted.task == "translate" else "transcribe"
        return [self.wanted.language] * n, task, self._prompt

    def _long_enough(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [lengthened(wave, self.sampling_rate) for wave in waves]

    def _heard(self, text: str, one: Evidence | None) -> Heard:
        """Align the words of a text; none where it does not fit."""
        if one is None or not text:
            return Heard(text)
        read = self.recogniser.parts.tokenizer.decode
        groups = align.grouped(one.ids, lambda ids: read(ids, skip_special_tokens=True))
        texts = split(text)
        if len(groups) != len(texts):
            return Heard(text)
        if one.blank is None:
            spans = align.in_order(one.scores)
        else:
            spans = align.ctc(one.scores, one.ids, one.blank)
        if spans is None:
            return Heard(text)
        seconds = [self._span(spans, group, one) for group in groups]
        sure = [float(np.exp(one.log_probs[group].sum())) for group in groups]
        return Heard(text, align.timed(texts, seconds, sure, len(one.scores) * one.step_s))

    def _span(self, spans: np.ndarray, group: list[int], one: Evidence) -> tuple[float, float]:
        """Give a word's seconds; marks at its end are not heard, but given the pause there."""
        read = self.recogniser.parts.tokenizer.decode
        said = [i for i in group if any(c.isalnum() for c in read([one.ids[i]]))] or group
        return spans[group[0], 0] * one.step_s, spans[said[-1], 1] * one.step_s
