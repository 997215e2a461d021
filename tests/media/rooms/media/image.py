"""A picture as raw pixels, in one file: (height, width) values of a .npy file, cut into squares."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch


@dataclass(frozen=True)
class Squares:
    """The front end: squares of `size` pixels, row by row."""

    size: int = 2

    @property
    def dim(self) -> int:
        """Pixels of a square."""
        return self.size**2

    def count(self, n: int) -> int:
        """Squares of n pixels."""
        return n // self.dim

    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, int]:
        """Cut (height, width) into (n, dim), n."""
        squares = torch.from_numpy(pixels).float().unfold(0, self.size, self.size)
        x = squares.unfold(1, self.size, self.size).reshape(-1, self.dim)
        return x, len(x)


def open(part: dict) -> np.ndarray:
    """Read the pixels."""
    try:
        return np.load(part["image"])
    except (OSError, ValueError) as error:
        raise ValueError(f"{part['image']}: no picture: {error}") from None


def front(table: dict, where: str) -> Squares:
    """Make the front end."""
    return Squares(**table)


def frames(part: dict, front: Squares, rng=None, augment=None) -> tuple[torch.Tensor, int]:
    """Cut a picture into squares."""
    return front(open(part))


def cost(part: dict) -> float:
    """As a second of sound."""
    return 1.0


def usual(front: Squares) -> int:
    """Give the squares of a picture of 4 x 4."""
    return front.count(16)


def faults(part: dict, deep: bool = False) -> list[tuple[str, str, str]]:
    """Say whether it is there, and blank."""
    if not Path(part["image"]).is_file():
        return [(f"{part['image']}: no such file", "remove the line", "error")]
    if deep and not open(part).any():
        return [("a blank picture", "remove the line", "warning")]
    return []


def key(part: dict) -> tuple:
    """Give its file."""
    return (part["image"],)


def nothing(front: Squares) -> tuple[torch.Tensor, int]:
    """Give a black picture of 4 x 4."""
    return torch.zeros(usual(front), front.dim), usual(front)
