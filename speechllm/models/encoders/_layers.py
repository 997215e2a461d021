"""Which layers of a pretrained encoder are used: the last, one by its number, a sum of all."""

import torch
from torch import nn

KINDS = ("last", "weighted")


def check(kind: str, name: str = "layers") -> None:
    """Refuse a word that means nothing as the setting `name`.

    Raises:
        ValueError: neither "last" nor "weighted", nor a number.
    """
    if kind not in KINDS and not (kind.isdecimal() and int(kind)):
        raise ValueError(f"{name} must be 'last', 'weighted' or a number as '2', got {kind!r}")


class Mix(nn.Module):
    """Choose from the hidden states: the last, softmax(weights) over all, starting equal, or one.

    Sounds that are not speech are told apart best in the lower layers of a recogniser.
    Hidden states are those of transformers: the input of the first layer, then each layer's
    output, n_layers + 1 in all; the last one after the final norm where the model has one.
    Paper of the weighted sum: SUPERB, arXiv 2105.01051.

    Attributes:
        number: of the layer whose output is taken, 0 for the last one's, normed.
    """

    def __init__(self, kind: str, n_layers: int):
        super().__init__()
        self.number = int(kind) if kind.isdecimal() else 0
        if self.number > n_layers:
            raise ValueError(f"layers = {kind!r}: wanted 1 to {n_layers}, as many as there are")
        self.weights = nn.Parameter(torch.zeros(n_layers + 1)) if kind == "weighted" else None

    @property
    def needs_all(self) -> bool:
        """Whether `forward` wants all hidden states."""
        return self.weights is not None or self.number > 0

    def forward(self, last, hidden):
        """Give (B, L, D) from the last state and, if `needs_all`, the tuple of all."""
        if self.number:
            return hidden[self.number]
        if self.weights is None:
            return last
        shares = self.weights.softmax(0)
        return sum(share * state for share, state in zip(shares, (*hidden[:-1], last), strict=True))
