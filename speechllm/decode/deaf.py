"""The LLM beside itself as a language model: what it would say without LoRA, having heard nothing.

LoRA learns how a few hours of speech go on; how sentences do is what the LLM knew before. With
`lm_weight` a token scores its log-probability by the LLM that hears, and so much of that by the LLM
that reads the answer alone: shallow fusion (Gulcehre et al. 2015, arXiv 1503.03535) of one model.

N lines, V vocabulary.
"""

import torch

from speechllm.models import lora
from speechllm.models.model import Pass
from speechllm.models.reading import Reading, joins


def check(model) -> None:
    """Refuse an LLM whose layers are shown what is heard: it cannot read another text meanwhile.

    Raises:
        ValueError: a gated LoRA, cross-attention; a cache that is not of keys and values.
    """
    if not joins(model):
        raise ValueError(
            "lm_weight: is for an LLM that hears by soft tokens in its text; this one has a gated "
            "LoRA, cross-attention or a cache of its own kind: leave lm_weight at 0"
        )


class Beside:
    """Two readings of the same lines, one weighed beside the other; a search uses it as `Reading`.

    Args:
        own: by the LLM that hears.
        result: a pass over as many prompts of text alone, which the LLM reads that hears nothing.
        weight: of what that one says.
    """

    def __init__(self, own: Reading, result: Pass, weight: float):
        self._own, self._weight, self._llm = own, weight, result.model.llm
        text = self._llm.get_input_embeddings()(result.layout.ids)
        with lora.untouched(self._llm):
            self._deaf = Reading(result, text)

    @property
    def scores(self) -> torch.Tensor:
        """(N, V) float32: both together, of each next id."""
        return self._own.scores + self._weight * self._deaf.scores

    def keep(self, lines: torch.Tensor, same_rows: bool = False) -> None:
        """Go on with these lines (n,), as `Reading.keep`."""
        self._own.keep(lines, same_rows)
        self._deaf.keep(lines, same_rows)

    def step(self, ids: torch.Tensor) -> None:
        """Read one more id in each line, (N,)."""
        self._own.step(ids)
        with lora.untouched(self._llm):
            self._deaf.step(ids)
