"""What encoders of pictures share: pixels and places told apart, tiles one by one.

A front end's row (features/patches.py) is a patch's C P P pixels, then its tile, row and column.
Encoders of tiles of one size take `per_tile` rows as a tile, whatever their places say, as a
recording is cut to windows; the last tile of a picture may be incomplete.
"""

import dataclasses
import math

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


def pictures(pixels, channels: int, side: int):
    """Lay the patches of whole tiles (N, side², C P P) as they stood: (N, C, side P, side P)."""
    patch = math.isqrt(pixels.shape[-1] // channels)
    # (N, rows, columns, C, P, P) -> (N, C, rows, P, columns, P)
    laid = pixels.unflatten(-1, (channels, patch, patch)).unflatten(1, (side, side))
    return laid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


@dataclasses.dataclass(frozen=True)
class Cut:
    """Puts tiles of patches together and cuts them anew, into patches of another size.

    side, patch: of a tile in patches, of a patch in pixels, as they come; wanted: pixels.
    """

    channels: int
    side: int
    patch: int
    wanted: int

    @classmethod
    def of(cls, in_dim: int, per_tile: int, wanted: int) -> "Cut":
        """Find the sizes of rows of `in_dim` values, of pictures in three colours or in grey.

        Raises:
            ValueError: no such rows, or tiles that are no whole patches of `wanted` pixels.
        """
        for channels in (3, 1):
            patch = round((max(in_dim - PLACE, 0) / channels) ** 0.5)
            side = round(per_tile**0.5)
            fits = channels * patch**2 + PLACE == in_dim and side**2 == per_tile
            if fits and patch and not side * patch % wanted:
                return cls(channels, side, patch, wanted)
        raise ValueError(
            f"wanted tiles of {per_tile} patches (a front end for pictures) whose sides are whole "
            f"patches of {wanted} pixels, got a front end of dimension {in_dim}"
        )

    @property
    def dim(self) -> int:
        """Values of a row."""
        return self.channels * self.wanted**2 + PLACE

    def __call__(self, tiles, inside):
        """Cut tiles (N, P, F), `inside` (N,) of each there, into (N, P', F'), (N,).

        Of a tile that is not whole the new patches are counted as if it were cut off evenly.
        """
        (values, places), n = split(tiles), self.side * self.patch // self.wanted
        whole = pictures(values, self.channels, self.side)
        squares = whole.unflatten(2, (n, self.wanted)).unflatten(4, (n, self.wanted))
        values = squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        row, column = (torch.arange(n * n, device=tiles.device) // n,
                       torch.arange(n * n, device=tiles.device) % n)  # fmt: skip
        tile = places[:, :1, 0].expand(-1, n * n)
        place = torch.stack([tile, row.expand_as(tile), column.expand_as(tile)], -1)
        rows = torch.cat([values, place.to(values.dtype)], -1)
        return rows, -(-inside * n * n // self.side**2)


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
