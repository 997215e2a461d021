"""Which grid of tiles a picture is cut into, and where in the whole a patch then stands.

Sizes are (width, height), grids (columns, rows).
"""

import math
from collections.abc import Callable

import numpy as np


def nearest(size: tuple[int, int], most: int, side: int) -> tuple[int, int]:
    """Choose (columns, rows), at most `most` tiles, whose shape is nearest to the picture's.

    Of grids of one shape the larger one is taken where the picture has more than half its pixels.
    """
    width, height = size
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most // c + 1)]
    best, least = (1, 1), math.inf
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        apart = abs(width / height - columns / rows)
        larger = width * height > side * side * columns * rows / 2
        if apart < least or (apart == least and larger):
            best, least = (columns, rows), apart
    return best


def least_waste(size: tuple[int, int], grids, side: int) -> tuple[int, int]:
    """Choose (columns, rows) in which most pixels of the picture are seen, and least are black."""
    width, height = size

    def worth(grid: tuple[int, int]) -> tuple[int, int]:
        wide, high = grid[0] * side, grid[1] * side
        scale = min(wide / width, high / height)
        seen = min(int(width * scale) * int(height * scale), width * height)
        return seen, seen - wide * high

    return max(grids, key=worth)  # of equals the first


def roomiest(size: tuple[int, int], options) -> tuple[int, int]:
    """Choose (columns, rows), at most `most_tiles`, in which a picture grows least, or shrinks so.

    Of grids that are alike in this the one with the fewest tiles is taken.
    """
    most = options.most_tiles
    grids = [(c, r) for r in range(1, most + 1) for c in range(1, most // r + 1)]
    scales = [min(r * options.size / size[1], c * options.size / size[0]) for c, r in grids]
    growing = [scale for scale in scales if scale >= 1]
    best = min(growing) if growing else max(scales)
    alike = [grid for grid, scale in zip(grids, scales, strict=True) if scale == best]
    return min(alike, key=math.prod)


def covering(size: tuple[int, int], options) -> tuple[int, int]:
    """Choose (columns, rows) of tiles that cover the picture; if too many, the nearest in shape."""
    columns, rows = (-(-side // options.size) for side in size)
    if columns * rows > options.most_tiles:
        return nearest(size, options.most_tiles, options.size)
    return columns, rows


def scaled(size: tuple[int, int], grid: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale a size, in its shape, to the whole width or height of a grid of tiles."""
    (width, height), (wide, high) = size, (columns * side for columns in grid)
    if wide / width < high / height:
        return wide, max(int(height * (wide / width)), 1)
    return max(int(width * (high / height)), 1), high


# ways whose rows and columns count over all tiles, and the grid that each chooses
WHOLE: dict[str, Callable[..., tuple[int, int]]] = {
    "anyres": lambda size, options: least_waste(size, options.grids, options.size),
    "canvas": roomiest,
    "hd": covering,
}


def across(places: np.ndarray, size: tuple[int, int], options) -> np.ndarray:
    """Count rows and columns of patches (n, 3) over all tiles of a picture of `size`.

    They are -1 where a patch holds nothing of the picture: with "anyres" nothing but black, as
    LLaVA-NeXT counts it, with "hd" nothing but white.
    """
    grid, side = WHOLE[options.fit](size, options), options.size // options.patch
    tile, inside = places[:, :1], places[:, 1:]
    first = np.concatenate([(tile - 1) // grid[0], (tile - 1) % grid[0]], 1) * side
    found = inside + np.where(tile > 0, first, 0)
    if options.fit == "anyres":
        outside = _margins(found, size, grid[0] * side, grid[1] * side)
        found[outside & (places[:, 0] > 0)] = -1
    if options.fit == "hd":
        ends = np.array([grid[1], grid[0]]) * side - _empty(size, grid, options)
        found[(found >= ends).any(1) & (places[:, 0] > 0)] = -1
    return np.concatenate([tile, found], 1)


def _empty(size: tuple[int, int], grid: tuple[int, int], options) -> np.ndarray:
    """Count the whole patches below and right of a picture in its grid: rows, columns."""
    made = scaled(size, grid, options.size)
    wide, high = (
        (n * options.size - own) // options.patch for n, own in zip(grid, made, strict=True)
    )
    return np.array([high, wide])


def _margins(places: np.ndarray, size: tuple[int, int], wide: int, high: int) -> np.ndarray:
    """Say which rows, columns (n, 2) lie in the margins of a picture in so many patches."""
    # the side that is shorter within the grid has margins, as many whole patches at both ends
    if size[0] / size[1] > wide / high:
        axis, whole, seen = 0, high, int(round(size[1] * (wide / size[0]), 7))
    else:
        axis, whole, seen = 1, wide, int(round(size[0] * (high / size[1]), 7))
    margin = (whole - seen) // 2
    return (places[:, axis] < margin) | (places[:, axis] >= whole - margin)


def within(size: tuple[int, int], wide: int, high: int) -> tuple[int, int]:
    """Scale a size, in its shape, to the largest that fits."""
    width, height = size
    if wide / width < high / height:
        return wide, max(min(math.ceil(height * wide / width), high), 1)
    return max(min(math.ceil(width * high / height), wide), 1), high
