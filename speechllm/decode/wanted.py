"""What a listener is asked for, and what all of them do."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.decode.transcript import Heard
from speechllm.tasks import languages

MOST_S = 30.0  # few models heard longer sounds in training, whatever their data allowed
LEAST_S = 0.5  # shorter waves are followed by silence: encoders want some frames


@dataclass(frozen=True)
class Wanted:
    """What is to be written down.

    Attributes:
        task: a task by its name, "transcribe" for asr; "" for the model's own.
        language: what is spoken, a code; "" for what the model thinks.
        to: language of a translation.
        hotwords: words or phrases that may occur.
    """

    task: str = ""
    language: str = ""
    to: str = "en"
    hotwords: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse languages that there are not, and hotwords that say nothing."""
        for word in self.hotwords:
            if not any(c.isalnum() for c in word):
                raise ValueError(f"hotwords: {word!r} has no letter and no figure")
        for code in filter(None, (self.language, self.to)):
            languages.code(code)


def refuse_unwritable(hotwords: tuple[str, ...], tokenizer) -> None:
    """Refuse hotwords that a tokenizer makes nothing of.

    Raises:
        ValueError: names the first.
    """
    void = {tokenizer.unk_token_id, *tokenizer.all_special_ids}
    for word in hotwords:
        ids = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        said = [id for id in ids if id not in void]
        if not any(c.isalnum() for c in tokenizer.decode(said)):
            raise ValueError(f"hotwords: {word!r} is nothing in this model's tokens; leave it out")


def lengthened(wave: np.ndarray, rate: int) -> np.ndarray:
    """Let silence follow a wave (N,) that is too short for an encoder."""
    return np.pad(wave, (0, max(round(LEAST_S * rate) - len(wave), 0)))


class Listener(ABC):
    """What writes down what is said in waves; see `decode/listeners.py`."""

    @abstractmethod
    def many(
        self, waves: Sequence[np.ndarray], max_batch_s: float, words: bool = False
    ) -> Iterator[tuple[int, Heard | ValueError]]:
        """Yield (number of the wave, what is said in it, or why that is not known) as they end.

        Args:
            waves: (N,) each at `sampling_rate`.
            max_batch_s: how much is computed at once, waves times the longest, in seconds.
            words: with times of words from the wave's beginning, where there are any.

        Raises:
            FloatingPointError: the network computes no numbers.
        """

    def __call__(self, waves: Sequence[np.ndarray]) -> list[str]:
        """Write what is said in each wave, in one batch.

        Raises:
            ValueError: one of them is refused.
            FloatingPointError: as of `many`.
        """
        return [one.text for one in self._all(waves, words=False)]

    def timed(self, waves: Sequence[np.ndarray]) -> list[Heard]:
        """Write what is said in each wave, with times of its words.

        Raises:
            ValueError, FloatingPointError: as a call.
        """
        return self._all(waves, words=True)

    def _all(self, waves: Sequence[np.ndarray], words: bool) -> list[Heard]:
        found = dict(self.many(waves, math.inf, words))
        for one in found.values():
            if isinstance(one, ValueError):
                raise one
        return [found[i] for i in range(len(waves))]
