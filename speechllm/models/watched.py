"""Whisper watched over: loops are said again at a temperature, and silence is not spoken about.

    said = watched.said(model, states, read, language="en")       # ids of each window's text

Radford et al. 2022, section 4.5: a text that gzip makes 2.4 times smaller is a loop, one of a mean
log-probability below -1 a guess; either is drawn anew at 0.2, 0.4, ... 1.0 until it is neither. And
a guess of which the first step gives "no speech" 0.6 or more is nothing. The numbers are the
paper's. transformers has the same for sounds of several windows, which is told them (`LONG`).

B windows, V vocabulary.
"""

import zlib
from collections.abc import Callable

import torch
from transformers import LogitsProcessor
from transformers.modeling_outputs import BaseModelOutput

RATIO, LEAST, SILENT = 2.4, -1.0, 0.6
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
LONG = {
    "temperature": (0.0, *TEMPERATURES),
    "compression_ratio_threshold": RATIO,
    "logprob_threshold": LEAST,
    "no_speech_threshold": SILENT,
    "condition_on_prev_tokens": False,
}


def said(
    model, states: BaseModelOutput, read: Callable[[list[int]], str], **asked
) -> list[list[int]]:
    """Give the ids that a Whisper says of windows, [] where nobody speaks.

    Args:
        model: a Whisper that searches without beams.
        states: what its encoder gives, (B, 1500, D) first.
        read: ids to text.
        asked: what else its `generate` is told.
    """
    found, sure = _generated(model, states, asked)
    silent = _silent(model, states)
    for i, ids in enumerate(found):
        if sure[i] < LEAST and silent[i] > SILENT:
            found[i] = []
        elif not _fine(read(ids), sure[i]):
            found[i] = _again(model, BaseModelOutput(states[0][i : i + 1]), read, ids, asked)
    return found


def _again(model, states: BaseModelOutput, read, ids: list[int], asked: dict) -> list[int]:
    """Draw a text of one window at rising temperatures until it is fine; else the last one."""
    with torch.random.fork_rng(devices=[states[0].device] if states[0].is_cuda else []):
        torch.manual_seed(0)  # so that a text does not depend on what was said before
        for temperature in TEMPERATURES:
            drawn = {"temperature": temperature, "top_k": 0}
            (ids,), (sure,) = _generated(model, states, asked | drawn)
            if _fine(read(ids), sure):
                break
    return ids


def _fine(text: str, sure: float) -> bool:
    return ratio(text) <= RATIO and sure >= LEAST


def ratio(text: str) -> float:
    """How many times smaller zlib makes a text."""
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data))


def _generated(model, states: BaseModelOutput, asked: dict) -> tuple[list, list[float]]:
    """Generate; the ids of each window, and the mean log-probability of its text and its end."""
    ends = model.generation_config.eos_token_id
    end = ends if isinstance(ends, int) else min(ends)
    # drawn, a mark of time would be answered by `generate` with a second text
    barred = model.generation_config.no_timestamps_token_id + 1 if "temperature" in asked else None
    watch = _Watch(end, barred)
    ids = model.generate(encoder_outputs=states, logits_processor=[watch], **asked)
    found = ids.tolist()
    return found, watch.means(found).tolist()


class _Watch(LogitsProcessor):
    """Adds up the log-probabilities of what is said.

    end: the id that ends a text. barred: from this id on nothing is said; None: all may be.
    """

    def __init__(self, end: int, barred: int | None):
        self.end, self.barred = end, barred
        self.scores = self.total = self.count = None
        self.steps = 0

    def __call__(self, ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Take what was said last (B, S), and what may be said next (B, V)."""
        if self.barred is not None:
            scores[:, self.barred :] = -torch.inf
        if self.total is None:
            self.total = scores.new_zeros(len(scores), dtype=torch.float32)
            self.count, self.going = torch.zeros_like(self.total), torch.ones_like(self.total)
        else:
            self._add(ids[:, -1])
        self.scores = scores.float().log_softmax(-1)
        self.steps += 1
        return scores

    def _add(self, last: torch.Tensor) -> None:
        self.total += self.going * self.scores.gather(1, last[:, None])[:, 0]
        self.count += self.going
        self.going *= last != self.end

    def means(self, found: list[list[int]]) -> torch.Tensor:
        """Mean of each window (B,), of which the ids `found` came: the last is only in them."""
        # what has no end in it has come to its bound, or has lost its end
        last = [
            ids[-1] if self.end not in ids and len(ids) == self.steps else self.end for ids in found
        ]
        self._add(torch.tensor(last, device=self.total.device))
        return self.total / self.count.clamp(min=1)


def _silent(model, states: BaseModelOutput) -> list[float]:
    """How probable it is, before anything is said, that nobody speaks."""
    config = model.generation_config
    begun = torch.full((len(states[0]), 1), config.decoder_start_token_id, device=model.device)
    logits = model(encoder_outputs=states, decoder_input_ids=begun, use_cache=False).logits[:, 0]
    # <|nospeech|> stands before <|notimestamps|> in every Whisper's vocabulary
    return logits.float().softmax(-1)[:, config.no_timestamps_token_id - 1].tolist()
