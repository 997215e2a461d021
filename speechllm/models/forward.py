"""One pass of a model over a batch: what each part makes of it, once, when it is asked for.

B rows, S text positions, M media (of one kind, or of all kinds in the order of their slots),
L encoder steps, K soft tokens, N positions whose next token is wanted, D encoder width,
H LLM width, V vocabulary.
"""

from contextlib import contextmanager
from functools import cached_property

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models import apart, held, lora, outputs, sliced, standing
from speechllm.models.grouping import encode, through
from speechllm.models.llm import beside
from speechllm.models.masks import mean_at


class Pass:
    """One pass of a model over a batch: each part once, and only when somebody asks.

    An objective that needs only encoder states never pays for the LLM. `alone`: encoder and adapter
    read one medium after another, so that its soft tokens are, to the bit, what they are alone.
    """

    def __init__(self, model: nn.Module, batch: Batch, alone: bool = False):
        self.model = model
        self.batch = batch
        self.alone = alone
        self._states: dict[str, tuple] = {}
        self._losses: dict[float, tuple] = {}  # by smoothing

    def instead(self, found: dict[str, torch.Tensor]) -> "Pass":
        """Start a pass in which other states (M, L, D), by medium, stand in place of this one's."""
        other = Pass(self.model, self.batch)
        other._states = {kind: (x, self.states_of(kind)[1]) for kind, x in found.items()}
        return other

    @property
    def states(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder states (M, L, D) and lengths (M,) of the batch's audio."""
        return self.states_of("audio")

    def states_of(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder states and lengths of one medium."""
        if kind not in self._states:
            self._states[kind] = self._encoded(kind)
        return self._states[kind]

    def _encoded(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the encoder of one medium, or take its states where they are stored; mask them.

        A frozen encoder keeps no graph. One that is split is masked where its states are stored.
        """
        branch, (x, lengths) = self._branch(kind), self.batch.media[kind]
        mask, encoder = self.batch.masked.get(kind), branch.encoder
        learns = any(p.requires_grad for p in encoder.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            if kind in self.batch.encoded:
                counts = [branch.counts[0](n) for n in lengths.tolist()]
                states, steps = x, torch.tensor(counts, device=lengths.device)
            else:
                below = getattr(encoder, "below", None)
                states, steps = encode(encoder, x, lengths, below, self.alone)
            states = states if mask is None else mean_at(states, steps, mask)
            if not hasattr(encoder, "above"):
                return states, steps
            return through(encoder.above, states, steps, self.alone)

    def _branch(self, kind: str):
        branches = self.model.branches
        if kind not in branches:
            here = ", ".join(branches)
            raise ValueError(f"the model has no branch for {kind}, but for {here}")
        return branches[kind]

    @cached_property
    def tokens(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft tokens (M, K, H) and lengths (M,) in the order of their slots.

        They stand there over again for the second answers of pairs.
        """
        kinds = self.batch.media
        results = [self._adapted(kind) for kind in kinds]
        tokens, lengths = results[0] if len(results) == 1 else self._in_order(results)
        if (times := self.batch.n_answers) == 1:
            return tokens, lengths
        return tokens.repeat(times, 1, 1), lengths.repeat(times)

    def _adapted(self, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the adapter of one medium; if it asks, with its states' places or its company."""
        branch, more = self._branch(kind), {}
        settings = getattr(branch.adapter, "config", None)
        if getattr(settings, "placed", False) and hasattr(branch.encoder, "places"):
            more["places"] = branch.encoder.places(*self.batch.media[kind])
        if beside := getattr(settings, "beside", ()):
            more["beside"] = self.batch.beside(kind, beside)
        if more:
            return branch.adapter(*self.states_of(kind), **more)
        return through(branch.adapter, *self.states_of(kind), self.alone)

    def _in_order(self, results: list[tuple]) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring the soft tokens of several media, one after another, into the slots' order.

        Of slots (audio, image, audio) come tokens (a1, a2), (i1): `back` is (0, 2, 1).
        """
        size = max(tokens.shape[1] for tokens, _ in results)
        dtype = self.model.llm.get_input_embeddings().weight.dtype
        padded = [nn.functional.pad(t.to(dtype), (0, 0, 0, size - t.shape[1])) for t, _ in results]
        back = torch.cat([self.batch.which(kind) for kind in self.batch.media]).argsort()
        return torch.cat(padded)[back], torch.cat([n for _, n in results])[back]

    @cached_property
    def layout(self) -> Batch:
        """The batch as the LLM reads it: slots as long as their soft tokens want them."""
        if not self.batch.media:
            return self.batch
        return self.batch.fit(self.model.fusion.count(self.tokens[1]))

    @contextmanager
    def joined(self):
        """Give what the LLM reads, (B, S, H), for as long as it reads it: in a `with`.

        Until its end LoRA takes part where this batch has its media, and a fusion shows its soft
        tokens to layers inside the LLM. One pass of a model at a time.

        Raises:
            ValueError: another pass of the model has not ended.
        """
        model, layout = self.model, self.layout
        text = model.llm.get_input_embeddings()(layout.ids)
        tokens, slots, more = text.new_zeros(0, 0, text.shape[-1]), layout.slots, {}
        if layout.media:
            tokens, lengths = self.tokens
            if getattr(model.fusion, "placed", False):
                more["places"] = standing.of(model, self.batch, tokens.shape[1])
            slots = torch.cat([slots[:, :2], lengths[:, None]], 1)
        own = object()
        if model.under_way.setdefault("pass", own) is not own:  # one step, also for threads
            raise ValueError("another pass of this model has not ended: end it first")
        try:
            with held.given_back(model.llm):
                lora.choose(model.llm, layout)
                yield model.fusion.join(text, tokens.to(text.dtype), slots, layout.segments, **more)
        finally:
            model.under_way.clear()

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows (n,) of what is joined, each as often as it is named."""
        held.keep(self.model.llm, rows)

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
    def hidden(self) -> torch.Tensor:
        """What the LLM's output layer reads at `places`, (N, H); only where `sliced.fits`."""
        return self._read(self.model.llm.base_model).last_hidden_state[self.places]

    @cached_property
    def logits(self) -> torch.Tensor:
        """Logits (N, V) at `places`."""
        llm = self.model.llm
        if sliced.fits(llm):
            return llm.get_output_embeddings()(self.hidden)
        with outputs.at(llm, *self.places):
            return self._read(llm).logits[0]

    def _read(self, reader):
        """Let the LLM, or what lies below its output layer, read all that is joined."""
        layout = self.layout
        with self.joined() as embeddings:
            return reader(
                inputs_embeds=embeddings,
                **beside(self.model.llm, layout.ids),
                attention_mask=self.attention,
                position_ids=layout.positions,
                use_cache=False,
            )

    @property
    def attention(self) -> torch.Tensor | None:
        """The mask (B, S) the LLM gets; of packed rows None: their positions tell examples apart.

        Raises:
            ValueError: an LLM that lets packed examples into each other; several packed rows for
                one whose attention tells only one row's apart.
        """
        layout = self.layout
        if not layout.packed:
            return layout.segments
        apart.check(self.model.llm)
        kind = self.model.llm.config._attn_implementation or ""
        if "flash" in kind and len(layout.ids) > 1:
            raise ValueError(
                f"[data] pack with attention {kind!r} wants a batch's examples in one row, got "
                f"{len(layout.ids)}: set pack above {layout.segments.count_nonzero()}"
            )
        return None

    @cached_property
    def n_answers(self) -> int:
        """How many of `places` belong to answers to be learned: of pairs, the chosen ones'."""
        return int((self.places[0] < self.layout.n_chosen).sum())

    @property
    def answer_logits(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, V) and labels (N,) of the answers to be learned."""
        return self.logits[: self.n_answers], self.targets[: self.n_answers]

    def answer_loss(self, smoothing: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Negative log-likelihood (nats) of the answers to be learned, summed; and its hits.

        A hit is a label that is the most probable. smoothing: of the labels, 0 to 1.
        """
        if smoothing not in self._losses:
            self._losses[smoothing] = self._answer_loss(smoothing)
        return self._losses[smoothing]

    def _answer_loss(self, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
        llm, targets = self.model.llm, self.targets[: self.n_answers]
        if "logits" not in self.__dict__ and sliced.fits(llm):
            hidden, head = self.hidden[: self.n_answers], llm.get_output_embeddings()
            return sliced.cross_entropy(hidden, head, targets, smoothing)
        logits = self.answer_logits[0]
        loss = nn.functional.cross_entropy(
            logits.float(), targets, reduction="sum", label_smoothing=smoothing
        )
        return loss, (logits.argmax(-1) == targets).sum()

    def again(self, batch: Batch | None = None) -> "Pass":
        """Start another pass with the soft tokens of this one.

        Args:
            batch: what is read, with the same media; None: this one's.
        """
        other = Pass(self.model, batch or self.batch)
        if self.batch.media:
            other.tokens = self.tokens[0].detach(), self.tokens[1]
        return other
