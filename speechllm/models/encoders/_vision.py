"""What encoders of pictures share: pixels and places told apart, tiles one by one.

A front end's row (features/patches.py) is a patch's C P P pixels, then its tile, row and column.
Encoders of tiles of one size take `per_tile` rows as a tile, whatever their places say, as a
recording is cut to windows; the last tile of a picture may be incomplete.
"""

import torch
from torch.nn import functional

from features.patches import PLACE


def pixels(in_dim: int, channels: int, patch: int, what: str) -> None:
    """Refuse a front end of other patches.

    Raises:
        ValueError: says what is wanted, and what came.
    """
    wanted = channels * patch**2 + PLACE
    if in_dim != wanted:
        raise ValueError(
            f"this {what} encoder wants patches of {patch} x {patch} pixels and {channels} "
            f"channels (a front end for pictures with patch = {patch}), got a front end of "
            f"dimension {in_dim}, not {wanted}"
        )


def split(x):
    """Tell pixels (..., C P P) and places (..., 3), whole numbers, apart."""
    return x[..., :-PLACE], x[..., -PLACE:].round().long()


def tiled(x, lengths, per_tile: int):
    """Cut x (B, T, F) of lengths (B,) into its tiles: (N, per_tile, F), patches in each (N,), used.

    used: (B, W), which of the W tiles a batch may have are there; an empty item has one.
    """
    # lengths 20 and 9 in tiles of 16:   inside 16 4     the second has no second tile, so that
    #                                            9 0     three tiles are encoded, not four
    count = max(-(-x.shape[1] // per_tile), 1)
    x = functional.pad(x, (0, 0, 0, count * per_tile - x.shape[1]))
    begin = torch.arange(count, device=x.device) * per_tile
    inside = (lengths[:, None] - begin).clamp(0, per_tile)
    used = (inside > 0) | (begin == 0)
    return x.unflatten(1, (count, per_tile))[used], inside[used], used


def joined(tiles, used):
    """Put tiles' states (N, K, D) where they belong: (B, W K, D), zeros where there is no tile."""
    if used.all():
        return tiles.unflatten(0, used.shape).flatten(1, 2)
    out = tiles.new_zeros(*used.shape, *tiles.shape[1:])
    return out.index_put(used.nonzero(as_tuple=True), tiles).flatten(1, 2)
