"""What a listener is asked for, and what all of them do to a wave."""

from dataclasses import dataclass

import numpy as np

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
    """

    task: str = ""
    language: str = ""
    to: str = "en"

    def __post_init__(self):
        """Refuse languages that there are not."""
        for code in filter(None, (self.language, self.to)):
            languages.code(code)


def lengthened(wave: np.ndarray, rate: int) -> np.ndarray:
    """Let silence follow a wave (N,) that is too short for an encoder."""
    return np.pad(wave, (0, max(round(LEAST_S * rate) - len(wave), 0)))
