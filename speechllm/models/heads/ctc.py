"""The CTC head: units and a blank at each encoder step or soft token (Graves et al. 2006).

The units are the LLM's own tokens, so that what the encoder learns is already spelled as the LLM
spells; or fewer, letters or pieces (`alphabet.py`), which little speech is enough for. The head may
be the adapter's own (`ctc_posterior`, `ctc_compress`), and has then no weights of its own.

`tied` asks soft tokens themselves to be the embeddings of what they spell: a unit's logit is the
cosine of the soft token and the embedding, times a learned scale. So an adapter of any kind learns
by CTC where the LLM's words lie, before the LLM has read one of its tokens.

M media, L steps, K soft tokens, H LLM width, V units.
"""

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from speechllm.models.adapters import _ctc

PLACES = ("encoder", "adapter", "posterior")


@dataclasses.dataclass(frozen=True)
class Config(_ctc.Config):
    """What the head reads: encoder states, soft tokens ("adapter"), or the head in the adapter.

    letters, pieces, convs, kernel, conv_dropout: as `_ctc.Config`; not of the adapter's own head.
    tied: see the module; of a head on soft tokens.
    """

    on: str = "encoder"
    tied: bool = False

    def __post_init__(self):
        """Refuse a place where there is no head, and settings that it does not have."""
        super().__post_init__()
        if self.on not in PLACES:
            raise ValueError(f"on: wanted 'encoder', 'adapter' or 'posterior', got {self.on!r}")
        if self.tied and (self.on != "adapter" or self.convs or not self.size):
            raise ValueError(
                'tied: wanted on = "adapter", letters or pieces, and no convs (soft tokens '
                f"themselves are compared with embeddings), got on = {self.on!r}, letters = "
                f"{self.letters!r}, pieces = {self.pieces}, convs = {self.convs}"
            )
        if self.on == "posterior" and (self.size or self.convs or self.tied):
            raise ValueError('on = "posterior": the head is the adapter\'s, and set in [adapter]')

    def build(self, model) -> "Head":
        """Make the head for a model.

        Raises:
            ValueError: on = "posterior" with an adapter that has no CTC head; as `alphabet.make`.
        """
        if self.on == "posterior":
            if not hasattr(model.adapter, "ctc_logits"):
                raise ValueError(
                    'ctc on = "posterior" wants an adapter with a CTC head, ctc_posterior or '
                    'ctc_compress; with any other, on = "encoder" or "adapter" makes a head'
                )
            own = getattr(model.adapter, "alphabet", None)
            return Head(self, len(own.units) if own else model.vocab_size, None, own)
        own = self.make(getattr(model, "tokenizer", None))
        if self.tied:
            return Head(self, self.size, Tied(model.llm.get_input_embeddings(), own.ids), own)
        width = model.encoder_dim if self.on == "encoder" else model.width
        head = self.head(width, model.vocab_size)
        return Head(self, self.size or model.vocab_size, head, own)


class Tied(nn.Module):
    """Logits (M, K, V + 1) of soft tokens (M, K, H): scaled cosines with V embeddings and a blank.

    The embeddings are looked at, they stay the LLM's own.
    """

    def __init__(self, embedding: nn.Embedding, ids: tuple[int, ...]):
        super().__init__()
        self._embedding = (embedding,)  # in a tuple, so that it is no part of this module
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self.blank = nn.Parameter(torch.randn(1, embedding.embedding_dim))
        self.scale = nn.Parameter(torch.tensor(20.0))  # of 1000 units the best can have 0.99

    def forward(self, tokens):
        """See the class."""
        (embedding,) = self._embedding
        units = torch.cat([embedding.weight[self.ids].to(self.blank.dtype), self.blank])
        tokens, units = (functional.normalize(x.float(), dim=-1) for x in (tokens, units))
        return self.scale * functional.linear(tokens, units)


class Head(nn.Module):
    """Scores units and the blank, which is the last of them, number V.

    alphabet: the units; None where they are the LLM's tokens, by number.
    """

    def __init__(self, config: Config, size: int, head: nn.Module | None, alphabet=None):
        super().__init__()
        self.alphabet = alphabet
        self.config = config
        self.blank = size
        self.head = head

    @property
    def letters(self) -> str:
        """The units in one string, where each is a letter."""
        units = self.alphabet.units if self.alphabet else ()
        return "".join(units) if all(len(unit) == 1 for unit in units) else ""

    def forward(self, result, dropout=None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (M, L, V + 1) of a pass's sounds, and lengths (M,)."""
        on_tokens = self.config.on == "adapter"
        states, lengths = result.tokens if on_tokens else result.states
        if on_tokens:  # which are those of all media, and for pairs of answers each twice
            sounds = result.batch.which("audio")
            states, lengths = states[sounds], lengths[sounds]
        states = dropout(states) if dropout else states
        if self.head is None:
            return result.model.adapter.ctc_logits(states, lengths), lengths
        return (self.head(states, lengths) if self.config.convs else self.head(states)), lengths

    def greedy(self, result) -> list[list[int]]:
        """Best path of each medium: repeats merged, blanks dropped."""
        return self.best(*self(result))

    def best(self, logits: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """Best path in logits (M, L, V + 1), as `greedy`."""
        paths = [p[:n] for p, n in zip(logits.argmax(-1), lengths.tolist(), strict=True)]
        merged = [torch.unique_consecutive(path).tolist() for path in paths]
        return [[i for i in path if i != self.blank] for path in merged]
