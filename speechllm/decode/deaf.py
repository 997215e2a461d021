"""The LLM beside itself as a language model: what it would say without LoRA, having heard nothing.

LoRA learns how a few hours of speech go on; how sentences do is what the LLM knew before. With
`lm_weight` a token scores its log-probability by the LLM that hears, and so much of that by the LLM
that reads the answer alone: shallow fusion (Gulcehre et al. 2015, arXiv 1503.03535) of one model.

N lines, V vocabulary.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from speechllm.data.batch import Kind
from speechllm.data.chat import Encoded
from speechllm.models import lora
from speechllm.models.model import Pass
from speechllm.models.reading import Reading, joins


def text_prompt(tokenizer, words: str = "") -> Encoded:
    """Make the prompt of text alone: what a language model reads before anything is said."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    # where no token begins a text, a new line does
    words = words or ("" if ids else "\n")
    ids += tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    return Encoded(ids, [Kind.PROMPT] * len(ids), [])


def check_deaf(model) -> None:
    """Refuse an LLM whose layers are shown what is heard: it cannot read another text meanwhile.

    Raises:
        ValueError: a gated LoRA, cross-attention; a cache that is not of keys and values.
    """
    if not joins(model):
        raise ValueError(
            "lm_weight: is for an LLM that hears by soft tokens in its text; this one has a gated "
            "LoRA, cross-attention or a cache of its own kind: leave lm_weight at 0"
        )


@dataclass(frozen=True)
class Deaf:
    """The LLM that hears nothing, before a search.

    Attributes:
        result: a pass over prompts of text alone, one for each row.
        weight: of what it says.
        narrowed: entered for each step; it may leave the LLM a part of its vocabulary.
    """

    result: Pass
    weight: float
    narrowed: AbstractContextManager


class Beside:
    """Two readings of the same lines, one weighed beside the other; a search uses it as `Reading`.

    Args:
        own: by the LLM that hears.
        deaf: the other one.
    """

    def __init__(self, own: Reading, deaf: Deaf):
        self._own, self._deaf, self._llm = own, deaf, deaf.result.model.llm
        text = self._llm.get_input_embeddings()(deaf.result.layout.ids)
        with lora.untouched(self._llm), deaf.narrowed:
            self._other = Reading(deaf.result, text)

    @property
    def scores(self) -> torch.Tensor:
        """(N, V) float32: both together, of each next id."""
        return self._own.scores + self._deaf.weight * self._other.scores

    def keep(self, lines: torch.Tensor, same_rows: bool = False) -> None:
        """Go on with these lines (n,), as `Reading.keep`."""
        self._own.keep(lines, same_rows)
        self._other.keep(lines, same_rows)

    def step(self, ids: torch.Tensor) -> None:
        """Read one more id in each line, (N,)."""
        self._own.step(ids)
        with lora.untouched(self._llm), self._deaf.narrowed:
            self._other.step(ids)
