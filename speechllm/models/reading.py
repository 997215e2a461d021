"""What an LLM has read so far: its cache, and the log-probabilities of what may come next.

N lines stand side by side in the LLM, at first one for each of the B rows of a batch. Lines may be
left out, repeated or put in another order between two steps: a search needs nothing else.
"""

import torch
from transformers import DynamicCache

from speechllm.models.llm import beside
from speechllm.models.model import Pass


class Reading:
    """An LLM in the middle of N lines.

    Attributes:
        scores: (N, V) float32, log-probability of each next id.
    """

    @torch.no_grad()
    def __init__(self, result: Pass, embeddings: torch.Tensor):
        """Read the prompts of a pass, embeddings (B, S, H), in one step."""
        layout, self._result = result.layout, result
        self._cache = DynamicCache(config=self._result.model.llm.config.get_text_config())
        self._mask = layout.segments
        self._positions = layout.positions
        self._read(inputs_embeds=embeddings, **beside(result.model.llm, layout.ids))

    def _read(self, **what) -> None:
        logits = self._result.model.llm(
            **what,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        self.scores = logits[:, -1].float().log_softmax(-1)

    @torch.no_grad()
    def step(self, ids: torch.Tensor) -> None:
        """Read one more id in each line, (N,)."""
        # rows are padded on the left: the new column is the next of every row, whatever its length
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        self._positions = self._positions[:, -1:] + 1
        self._read(input_ids=ids[:, None])

    def keep(self, lines: torch.Tensor, same_rows: bool = False) -> None:
        """Go on with these lines (n,), each as often and in the order as it is named.

        Args:
            lines: numbers of lines, at least one.
            same_rows: each place holds a line of the batch's row that it held before, so that
                only what was read after the prompts has changed.
        """
        self._cache.reorder_cache(lines)
        if not same_rows:
            self._mask, self._positions = self._mask[lines], self._positions[lines]
            self._result.keep(lines)
