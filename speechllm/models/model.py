"""The model: encoder, adapter, fusion, LLM, called in this order. It knows nothing else.

B rows, S text positions, M media, L encoder steps, K soft tokens, D encoder width, H LLM width,
V vocabulary.
"""

from contextlib import contextmanager
from functools import cached_property

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models import lora
from speechllm.models.grouping import encode
from speechllm.models.llm import outputs_at


class SpeechLLM(nn.Module):
    """A speech LLM. `model(batch)` answers with a `Pass`, whose parts are computed when asked for.

    Attributes:
        encoder, adapter: (x, lengths) -> (y, lengths); see the contracts of their rooms.
        fusion: says where soft tokens meet the LLM: `attach(llm)` once, `join` at each pass.
        llm: a causal LM of transformers, perhaps with LoRA inside.
        encoder_dim: D.
    """

    def __init__(self, encoder: nn.Module, adapter: nn.Module, fusion, llm: nn.Module, encoder_dim):
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.fusion = fusion
        self.llm = llm
        self.encoder_dim = encoder_dim
        fusion.attach(llm)

    @property
    def width(self) -> int:
        """H, the width of the LLM's embeddings."""
        return self.llm.get_input_embeddings().embedding_dim

    @property
    def vocab_size(self) -> int:
        """V, the number of the LLM's embeddings."""
        return self.llm.get_input_embeddings().num_embeddings

    def match(self) -> None:
        """Let soft tokens start near the norm of the LLM's embeddings, where the adapter can."""
        embedding = self.llm.get_input_embeddings()
        if not hasattr(self.adapter, "match") or embedding.weight.is_meta:
            return
        scale = getattr(embedding, "embed_scale", None)  # Gemma scales its own
        self.adapter.match(embedding.weight if scale is None else embedding.weight * scale)

    def switch_lora(self, on: bool) -> None:
        """Let the LLM's LoRA take part or not."""
        lora.switch(self.llm, on)

    def untouched(self):
        """Make the context in which the LLM is as it came: no LoRA, no dropout, no gradient."""
        return lora.untouched(self.llm)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (n,) of what the LLM was given last, each as often as named."""
        self.fusion.keep(rows)
        lora.keep(self.llm, rows)

    def forward(self, batch: Batch) -> "Pass":
        """Start one pass over a batch."""
        return Pass(self, batch)


class Pass:
    """One pass of a model over a batch: each part once, and only when somebody asks.

    An objective that needs only encoder states never pays for the LLM.
    """

    def __init__(self, model: SpeechLLM, batch: Batch):
        self.model = model
        self.batch = batch

    @cached_property
    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder states (M, L, D) and lengths (M,). A frozen encoder keeps no graph."""
        learns = any(p.requires_grad for p in self.model.encoder.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            return encode(self.model.encoder, self.batch.media, self.batch.media_lengths)

    @cached_property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft tokens (M, K, H) and lengths (M,), over again for the second answers of pairs."""
        tokens, lengths = self.model.adapter(*self.states)
        if (times := self.batch.answers) == 1:
            return tokens, lengths
        return tokens.repeat(times, 1, 1), lengths.repeat(times)

    @cached_property
    def layout(self) -> Batch:
        """The batch as the LLM reads it: slots as long as their soft tokens want them."""
        if self.batch.media is None:
            return self.batch
        return self.batch.fit(self.model.fusion.count(self.tokens[1]))

    @property
    def embeddings(self) -> torch.Tensor:
        """What the LLM reads, (B, S, H): text embeddings joined with the soft tokens.

        Ask for it right before the LLM is called, each time: a fusion may keep what it joined last
        for layers inside the LLM, and LoRA takes part where this batch has its media.
        """
        layout = self.layout
        lora.choose(self.model.llm, layout)
        text = self.model.llm.get_input_embeddings()(layout.ids)
        tokens, slots = text.new_zeros(0, 0, text.shape[-1]), layout.slots
        if layout.media is not None:
            tokens, lengths = self.tokens
            slots = torch.cat([slots[:, :2], lengths[:, None]], 1)
        return self.model.fusion.join(text, tokens.to(text.dtype), slots, layout.segments)

    @cached_property
    def places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (N,) and columns (N,) whose next token is wanted: the only ones that need logits."""
        return self.layout.wanted.nonzero(as_tuple=True)

    @cached_property
    def targets(self) -> torch.Tensor:
        """Labels (N,) of the tokens after `places`."""
        rows, columns = self.places
        return self.layout.labels[rows, columns + 1]

    @cached_property
    def logits(self) -> torch.Tensor:
        """Logits (N, V) at `places`."""
        rows, columns = self.places
        with outputs_at(self.model.llm, rows, columns):
            return self.model.llm(
                inputs_embeds=self.embeddings,
                attention_mask=self.attention,
                position_ids=self.layout.positions,
                use_cache=False,
            ).logits[0]

    @property
    def attention(self) -> torch.Tensor | None:
        """The mask (B, S) the LLM gets; of packed rows None: their positions tell examples apart.

        Raises:
            ValueError: several packed rows for an LLM whose attention tells only one row's apart.
        """
        layout = self.layout
        if not layout.packed:
            return layout.segments
        kind = self.model.llm.config._attn_implementation or ""
        if "flash" in kind and len(layout.ids) > 1:
            raise ValueError(
                f"[data] pack with attention {kind!r} wants a batch's examples in one row, got "
                f"{len(layout.ids)}: set pack above {layout.segments.count_nonzero()}"
            )
        return None

    @property
    def answers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, V) and labels (N,) of the answers to be learned: of pairs, the chosen ones."""
        n = int((self.places[0] < self.layout.n_chosen).sum())
        return self.logits[:n], self.targets[:n]

    def again(self) -> "Pass":
        """Start another pass over the batch, with the soft tokens of this one."""
        other = Pass(self.model, self.batch)
        if self.batch.media is not None:
            other.tokens = self.tokens[0].detach(), self.tokens[1]
        return other

    @contextmanager
    def aside(self):
        """Let the LLM be used for something else meanwhile: what this pass joined stays joined."""
        try:
            yield
        finally:
            self.embeddings  # noqa: B018
