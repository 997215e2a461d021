"""The CTC head: the LLM's own tokens and a blank, at each encoder step or soft token.

What the encoder learns by it is already spelled as the LLM spells. It may be the adapter's own
(`ctc_posterior`, `ctc_compress`), and has then no weights of its own. Graves et al. 2006.

M media, L steps, V the LLM's vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import nn

PLACES = ("encoder", "adapter", "posterior")


@dataclass(frozen=True)
class Config:
    """What the head reads: encoder states, soft tokens ("adapter"), or the head in the adapter."""

    on: str = "encoder"

    def __post_init__(self):
        if self.on not in PLACES:
            raise ValueError(f"on: wanted 'encoder', 'adapter' or 'posterior', got {self.on!r}")

    def build(self, model) -> "Head":
        """Make the head for a model.

        Raises:
            ValueError: on = "posterior" with an adapter that has no CTC head.
        """
        if self.on == "posterior":
            if not hasattr(model.adapter, "ctc_logits"):
                raise ValueError(
                    'ctc on = "posterior" wants an adapter with a CTC head, ctc_posterior or '
                    'ctc_compress; with any other, on = "encoder" or "adapter" makes a head'
                )
            letters = getattr(model.adapter.config, "letters", "")
            return Head(self, len(letters) or model.vocab_size, None, letters)
        width = model.encoder_dim if self.on == "encoder" else model.width
        return Head(self, model.vocab_size, nn.Linear(width, model.vocab_size + 1))


class Head(nn.Module):
    """Scores tokens and the blank, which is the last of them, number V.

    letters: where the adapter's own head spells in letters, those; V is their number then.
    """

    def __init__(self, config: Config, vocab_size: int, head: nn.Module | None, letters: str = ""):
        super().__init__()
        self.letters = letters
        self.config = config
        self.blank = vocab_size
        self.head = head

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
        return self.head(states), lengths

    def greedy(self, result) -> list[list[int]]:
        """Best path of each medium: repeats merged, blanks dropped."""
        return self.best(*self(result))

    def best(self, logits: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """Best path in logits (M, L, V + 1), as `greedy`."""
        paths = [p[:n] for p, n in zip(logits.argmax(-1), lengths.tolist(), strict=True)]
        merged = [torch.unique_consecutive(path).tolist() for path in paths]
        return [[i for i in path if i != self.blank] for path in merged]


def letters_of(text: str, letters: str) -> list[int]:
    """Spell a text: numbers of its letters, small where the capital is none; no others."""
    known = [c if c in letters else c.lower() for c in text]
    return [letters.index(c) for c in known if c in letters]
