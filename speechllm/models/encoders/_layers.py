"""Which layers of a pretrained encoder are used: the last, or a learned weighted sum of all."""

import torch
from torch import nn

KINDS = ("last", "weighted")


def check(kind: str, name: str = "layers") -> None:
    """Refuse a word that means nothing as the setting `name`.

    Raises:
        ValueError: neither "last" nor "weighted".
    """
    if kind not in KINDS:
        raise ValueError(f"{name} must be 'last' or 'weighted', got {kind!r}")


class Mix(nn.Module):
    """Choose from the hidden states: the last, or softmax(weights) over all, starting equal.

    Hidden states are those of transformers: the input of the first layer, then each layer's
    output, n_layers + 1 in all; the last one after the final norm where the model has one.
    Paper of the weighted sum: SUPERB, arXiv 2105.01051.
    """

    def __init__(self, kind: str, n_layers: int):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_layers + 1)) if kind == "weighted" else None

    @property
    def needs_all(self) -> bool:
        """Whether `forward` wants all hidden states."""
        return self.weights is not None

    def forward(self, last, hidden):
        """Give (B, L, D) from the last state and, if `needs_all`, the tuple of all."""
        if self.weights is None:
            return last
        shares = self.weights.softmax(0)
        return sum(share * state for share, state in zip(shares, (*hidden[:-1], last), strict=True))
