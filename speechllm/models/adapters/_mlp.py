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


def check_width(layers: int, in_dim: int, out_dim: int, name: str) -> None:
    """Refuse to leave states as they are where soft tokens have another width.

    Raises:
        ValueError: no layers, and two widths.
    """
    if not layers and in_dim != out_dim:
        raise ValueError(
            f"[adapter] {name} with layers = 0 wants states as wide as soft tokens are, {out_dim}, "
            f"got {in_dim}"
        )


def widths(layers: int, in_dim: int, hidden: int, out_dim: int) -> list[int]:
    """List the widths from `in_dim` through so many Linears; hidden 0 is `out_dim`."""
    return [in_dim, *[hidden or out_dim] * (layers - 1), out_dim][: layers + 1]


def perceptron(widths: list[int], activation: str, bias: bool) -> nn.Sequential:
    """Make Linears from each width to the next, with the activation between them, not last."""
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
