"""Is there room for it? What is too long for the model or for this machine is known beforehand.

Two limits are asked. The LLM reads so many positions, which its configuration says. And memory: of
the encoder's attention it grows with the square of the length, by how much only the model itself
knows. It is tried on seconds of silence, of three lengths, and the parabola through them says what
an hour would take.
"""

import logging
from collections.abc import Callable
from functools import cached_property

import psutil
import torch

from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models.footprint import Live
from speechllm.models.model import SpeechLLM
from speechllm.models.reading import Reading
from speechllm.models.system import System

_log = logging.getLogger(__name__)
LONG_S = 60.0  # what is shorter is not asked about: batches of it are as large
TRIED_S = (10.0, 20.0, 40.0)
SPARE = 16  # tokens that a short answer may have more


def positions(model: SpeechLLM) -> int:
    """Most positions that the LLM reads, prompt and answer together; 0: it has no such limit."""
    text = model.llm.config.get_text_config()
    return getattr(text, "max_position_embeddings", None) or 0


def available(device: torch.device) -> int:
    """Bytes that a computation on this device may still take."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class Room:
    """What one sound may take.

    Args:
        system, model: as they are used.
        free: gives the bytes that are free; `available` of the model's device.
    """

    def __init__(self, system: System, model: SpeechLLM, free: Callable[[], int] | None = None):
        self.system, self.model = system, model
        self.device = next(model.parameters()).device
        self.free = free or (lambda: available(self.device))

    def check(self, seconds: float) -> None:
        """Refuse a sound for which there is not enough memory.

        Raises:
            ValueError: how much it wants, and how much there is.
        """
        if seconds <= LONG_S:
            return
        wanted, free = self.bytes(seconds), self.free()
        if wanted > free:
            raise ValueError(
                f"too long: {seconds:.0f} s want about {wanted / 1e9:.1f} GB of memory in one "
                f"piece, {free / 1e9:.1f} GB are free; cut it, or take a larger machine"
            )

    def bytes(self, seconds: float) -> float:
        """Estimate the memory that reading a sound of this length takes, weights apart."""
        a, b, c = self._parabola
        return a + b * seconds + c * seconds**2

    @cached_property
    def _parabola(self) -> tuple[float, float, float]:
        """Constant, linear and square term: 0 where the front end takes no such lengths."""
        try:
            peaks = [self._peak(seconds) for seconds in TRIED_S]
        except ValueError:  # it will say so itself, of the very file
            return 0.0, 0.0, 0.0
        s, t, u = TRIED_S
        slope = (peaks[1] - peaks[0]) / (t - s)
        c = max(((peaks[2] - peaks[1]) / (u - t) - slope) / (u - s), 0.0)
        b = max(slope - c * (s + t), 0.0)
        return max(peaks[0] - b * s - c * s * s, 0.0), b, c

    @torch.no_grad()
    def _peak(self, seconds: float) -> int:
        front, builder = self.system.extractor, Builder.of(self.system)
        x, n = front(torch.zeros(round(seconds * front.sampling_rate)))
        messages = [{"role": "user", "content": [{"type": "audio"}]}]
        encoded = builder.build(messages, [self.system.soft_tokens(n)], answer=False)
        example = Example({"id": "tried"}, encoded, [x], [n])
        batch = collate([example], builder.tokenizer.pad_token_id).to(self.device)
        with Live() as live:
            result = self.model(batch)
            with result.joined() as embeddings:
                Reading(result, embeddings)
        return live.peak + x.nbytes


def shortened(bounds: list[int], lengths: list[int], limit: int) -> list[int]:
    """Bound answers by the positions that prompts of these lengths leave.

    Raises:
        ValueError: a prompt leaves none.
    """
    if limit and max(lengths) >= limit:
        raise ValueError(
            f"too long: {max(lengths)} positions, and the LLM reads {limit}, its answer among "
            "them; cut it"
        )
    return [min(b, limit - n) for b, n in zip(bounds, lengths, strict=True)] if limit else bounds


def bound(seconds: float, per_s: float, max_tokens: int) -> int:
    """Most tokens of an answer: by how long its media are, never by its reference."""
    return int(seconds * per_s) + SPARE if seconds else max_tokens


def beams(llm, wanted: int, rows: int, positions: int, free: int) -> int:
    """Halve a number of beams until what they take is free; 1 is always tried.

    Args:
        llm: the LLM.
        wanted: beams.
        rows: of the batch.
        positions: of prompt and answer together, at most.
        free: bytes.
    """
    text = llm.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    size = llm.get_input_embeddings().weight.element_size()
    # keys and values, and twice while they are put in another order; four tables of scores
    cache = 4 * text.num_hidden_layers * heads * width * size * positions
    line = cache + 4 * 4 * text.vocab_size
    number = wanted
    while number > 1 and rows * number * line > free:
        number //= 2
    if number < wanted:
        _log.warning(
            "num_beams: %d of %d rows want about %.1f GB, %.1f GB are free: %d are taken",
            wanted, rows, rows * wanted * line / 1e9, free / 1e9, number,
        )  # fmt: skip
    return number
