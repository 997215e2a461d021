"""Linears with an activation between them, as several adapters want them."""

from itertools import pairwise

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def check(activation: str) -> None:
    """Refuse an activation that does not exist.

    Raises:
        ValueError: an unknown one.
    """
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"activation must be one of {known}, got {activation!r}")


def perceptron(widths: list[int], activation: str, bias: bool) -> nn.Sequential:
    """Make Linears from each width to the next, with the activation between them, not last."""
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
