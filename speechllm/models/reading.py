"""What an LLM has read so far: its cache, and the log-probabilities of what may come next.

N lines stand side by side in the LLM, at first one for each of the B rows of a batch. Lines may be
left out, repeated or put in another order between two steps: a search needs nothing else.
"""

from contextlib import nullcontext

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from speechllm.models import alike, held
from speechllm.models.llm import beside
from speechllm.models.model import Pass, SpeechLLM


def joins(model: SpeechLLM) -> bool:
    """Say whether readings of several passes can go on as one: the LLM keeps keys and values alone.

    A LoRA's gate or a fusion that shows something to layers of the LLM belongs to one pass.
    """
    layers = DynamicCache(config=model.llm.config.get_text_config()).layers
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return bool(layers) and plain and not held.holders(model.llm)


@torch.no_grad()
def begun(result: Pass, embeddings: torch.Tensor) -> "Reading":
    """Read the prompts of a pass; one by one where the pass keeps all `alone`."""
    n = len(embeddings)
    if n == 1 or not (result.alone and joins(result.model)):
        return Reading(result, embeddings)
    first, *others = (Reading(result, embeddings, row=row) for row in range(n))
    first.take(*others)
    return first


class Reading:
    """An LLM in the middle of N lines.

    Attributes:
        scores: (N, V) float32, log-probability of each next id.
        most: ids that may be read at once (`ahead`), besides the first.
        alike: each line is computed as it is alone (`alike.py`).
    """

    @torch.no_grad()
    def __init__(
        self,
        result: Pass,
        embeddings: torch.Tensor,
        rewinds: bool = False,
        row: int | None = None,
    ):
        """Read the prompts of a pass, embeddings (B, S, H), in one step.

        rewinds: for `back`. row: that one alone, without padding.
        """
        layout, self._result, self.alike = result.layout, result, result.alone
        self._cache = DynamicCache(config=self._result.model.llm.config.get_text_config())
        if rewinds:  # layers with a window keep what they would forget
            self._cache.activate_past_recording()
        ids, self._mask, self._positions = layout.ids, layout.segments, layout.positions
        if row is not None:
            left = int((self._mask[row] > 0).int().argmax())
            parts = embeddings, ids, self._mask, self._positions
            embeddings, ids, self._mask, self._positions = (x[row : row + 1, left:] for x in parts)
        # as many ids as the prompt has positions are to a LoRA's gate another prompt
        self.most = embeddings.shape[1] - 2
        self._read(inputs_embeds=embeddings, **beside(result.model.llm, ids))

    def _behind(self, n: int = 1, **what) -> torch.Tensor:
        """Read ids behind what is read: each row as it is alone, where the pass keeps that."""
        llm = self._result.model.llm
        with alike.rows(llm) if self.alike else nullcontext():
            return self._read(n, **what)

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
        self._behind(input_ids=ids[:, None])

    @torch.no_grad()
    def ahead(self, ids: list[int]) -> torch.Tensor:
        """Read several ids in the only line; gives the scores (k, V) after each."""
        k = len(ids)
        self._mask = pad(self._mask, (0, k), value=1)
        steps = torch.arange(1, k + 1, device=self._positions.device)
        self._positions = self._positions[:, -1:] + steps
        return self._behind(k, input_ids=torch.tensor([ids], device=self._mask.device))[0]

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

    def take(self, *others: "Reading") -> None:
        """Go on with the lines of other readings too, behind one's own; all must `joins`.

        The shorter ones get padding on the left, and columns that are padding in all go.
        """
        every = self, *others
        size = max(one._mask.shape[1] for one in every)
        mask = torch.cat([pad(one._mask, (size - one._mask.shape[1], 0)) for one in every])
        left = int((mask > 0).any(0).int().argmax())  # columns before the first that counts
        self._mask = mask[:, left:]
        for own, *new in zip(*(one._cache.layers for one in every), strict=True):
            if own.is_initialized:
                _join(own, new, size - left)
        self._positions = torch.cat([one._positions[:, -1:] for one in every])
        self.scores = torch.cat([one.scores for one in every])


def _join(own, others: list, size: int) -> None:
    """Put the lines of a cache's layer in other caches behind it, at `size` positions."""
    # A layer with a window of W keeps the last W - 1 positions. Keys (N, heads, positions, width).
    kept = size
    if isinstance(own, DynamicSlidingWindowLayer):
        kept = min(size, own.sliding_window - 1)
        own.cumulative_length = size
    for name in ("keys", "values"):
        parts = [getattr(layer, name)[:, :, -kept:] for layer in (own, *others)]
        setattr(own, name, torch.cat([pad(x, (0, 0, kept - x.shape[2], 0)) for x in parts]))
