"""What an LLM has read so far: its cache, and the log-probabilities of what may come next.

N lines stand side by side in the LLM, at first one for each of the B rows of a batch. Lines may be
left out, repeated or put in another order between two steps: a search needs nothing else.
"""

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from speechllm.models import held
from speechllm.models.llm import beside
from speechllm.models.model import Pass, SpeechLLM


def joins(model: SpeechLLM) -> bool:
    """Say whether readings of several passes can go on as one: the LLM keeps keys and values alone.

    A LoRA's gate or a fusion that shows something to layers of the LLM belongs to one pass.
    """
    layers = DynamicCache(config=model.llm.config.get_text_config()).layers
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return bool(layers) and plain and not held.holders(model.llm)


class Reading:
    """An LLM in the middle of N lines.

    Attributes:
        scores: (N, V) float32, log-probability of each next id.
        most: ids that may be read at once (`ahead`), besides the first.
    """

    @torch.no_grad()
    def __init__(self, result: Pass, embeddings: torch.Tensor, rewinds: bool = False):
        """Read the prompts of a pass, embeddings (B, S, H), in one step; `rewinds`: for `back`."""
        layout, self._result = result.layout, result
        self._cache = DynamicCache(config=self._result.model.llm.config.get_text_config())
        if rewinds:  # layers with a window keep what they would forget
            self._cache.activate_past_recording()
        # as many ids as the prompt has positions are to a LoRA's gate another prompt
        self.most = embeddings.shape[1] - 2
        self._mask = layout.segments
        self._positions = layout.positions
        self._read(inputs_embeds=embeddings, **beside(result.model.llm, layout.ids))

    def _read(self, n: int = 1, **what) -> torch.Tensor:
        logits = self._result.model.llm(
            **what,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=n,
        ).logits
        scores = logits[:, -n:].float().log_softmax(-1)
        self.scores = scores[:, -1]
        return scores

    @torch.no_grad()
    def step(self, ids: torch.Tensor) -> None:
        """Read one more id in each line, (N,)."""
        # rows are padded on the left: the new column is the next of every row, whatever its length
        self._mask = pad(self._mask, (0, 1), value=1)
        self._positions = self._positions[:, -1:] + 1
        self._read(input_ids=ids[:, None])

    @torch.no_grad()
    def ahead(self, ids: list[int]) -> torch.Tensor:
        """Read several ids in the only line; gives the scores (k, V) after each."""
        k = len(ids)
        self._mask = pad(self._mask, (0, k), value=1)
        steps = torch.arange(1, k + 1, device=self._positions.device)
        self._positions = self._positions[:, -1:] + steps
        return self._read(k, input_ids=torch.tensor([ids], device=self._mask.device))[0]

    def back(self, n: int) -> None:
        """Forget the last n ids that were read `ahead`; call it after each, also with 0."""
        self._cache.crop(-n)
        if n:
            self._mask, self._positions = self._mask[:, :-n], self._positions[:, :-n]

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

    def take(self, other: "Reading") -> None:
        """Go on with the lines of another reading too, behind one's own; both must `joins`.

        The shorter ones get padding on the left, and columns that are padding in all go.
        """
        masks = self._mask, other._mask
        size = max(mask.shape[1] for mask in masks)
        mask = torch.cat([pad(mask, (size - mask.shape[1], 0)) for mask in masks])
        left = int((mask > 0).any(0).int().argmax())  # columns before the first that counts
        self._mask = mask[:, left:]
        pairs = zip(self._cache.layers, other._cache.layers, strict=True)
        for own, new in pairs:
            if own.is_initialized:
                _join(own, new, size - left)
        last = (reading._positions[:, -1:] for reading in (self, other))
        self._positions = torch.cat(list(last))
        self.scores = torch.cat([self.scores, other.scores])


def _join(own, new, size: int) -> None:
    """Put the lines of a cache's layer behind another's, at `size` positions."""
    # A layer with a window of W keeps the last W - 1 positions. Keys (N, heads, positions, width).
    kept = size
    if isinstance(own, DynamicSlidingWindowLayer):
        kept = min(size, own.sliding_window - 1)
        own.cumulative_length = size
    for name in ("keys", "values"):
        parts = [getattr(layer, name)[:, :, -kept:] for layer in (own, new)]
        setattr(own, name, torch.cat([pad(x, (0, 0, kept - x.shape[2], 0)) for x in parts]))
