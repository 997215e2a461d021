"""One Linear: (B, T, F) -> (B, T, D)."""

import dataclasses

from torch import nn


@dataclasses.dataclass(frozen=True)
class Config:
    """dim: width D."""

    dim: int = 8

    def count(self, n):
        """Give as many states."""
        return n

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder."""
        return Pixels(in_dim, self.dim)


class Pixels(nn.Module):
    """See the module docstring."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.linear = nn.Linear(in_dim, dim)

    def forward(self, x, lengths):
        """Map each square."""
        return self.linear(x), lengths
