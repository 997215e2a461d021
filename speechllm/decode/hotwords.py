"""Which of many hotwords may be in a sound: those that come near to what a CTC head hears.

A prompt of hundreds of words is long, and a model believes what it is told: words that were not
said leak into what it writes. So only words whose CTC path is near the best one are told (as Yang
et al., arXiv 2411.06437, CTC-assisted contextual ASR, do by their coarse text).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from speechllm.decode import align
from speechllm.decode.ask import Answerer
from speechllm.decode.requests import Request, example
from speechllm.decode.timing import Timer

NEAR = -2.0  # nats a unit below the best path
MOST = 20  # so many are told at most, the nearest


def read(words: str) -> tuple[str, ...]:
    """Read hotwords: of a file, one a line, or with commas between.

    Raises:
        ValueError: there is none.
    """
    if Path(words).is_file():
        try:
            parts = Path(words).read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise ValueError(f"hotwords: {words} cannot be read as text: {error}") from None
    else:
        parts = words.split(",")
    found = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not found:
        raise ValueError(f"hotwords: wanted a file, a word a line, or a,b,c; got {words!r}")
    return found


@torch.no_grad()
def near(speech, timer: Timer, requests: list[Request], words: Sequence[str]) -> list[list[str]]:
    """Choose the hotwords of each sound, the nearest first; last those the head cannot spell.

    Args:
        speech: whose model has a CTC head.
        timer: of it.
        requests: one sound each.
        words: the hotwords.
    """
    model = speech.model
    examples = [example(speech.system, request) for request in requests]
    batch = Answerer(speech.system, model).batch(examples)
    result = model(batch.to(next(model.parameters()).device))
    spelled = [(word, units) for word in words for units in timer.spellings(word) if units]
    unknown = [word for word in words if not any(timer.spellings(word))]
    chosen = []
    for log_probs, _ in timer.emissions(result):
        scores = align.spot(log_probs, [units for _, units in spelled], log_probs.shape[1] - 1)
        order = [spelled[i][0] for i in np.argsort(-scores, kind="stable") if scores[i] >= NEAR]
        chosen.append(list(dict.fromkeys([*order, *unknown]))[:MOST])
    return chosen
