"""How a picture is brought to the sizes that an encoder knows: whole, or cut into tiles.

Each way gives (number, picture) of each tile; 0 is the whole picture, or its thumbnail. A picture
is one of Pillow's, or what it becomes: (C, H, W) float32, normalised.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from features import grids

Tiles = list[tuple[int, Image.Image | torch.Tensor]]


def stretch(picture: Image.Image, options) -> Tiles:
    """The whole picture, in another shape."""
    return [(0, _resized(picture, options.size, options.size, options))]


def crop(picture: Image.Image, options) -> Tiles:
    """The middle of it: the shorter side is `short` before."""
    wanted = options.short or options.size
    width, height = picture.size
    short, long = sorted((width, height))
    scaled = int(wanted * long / short)
    size = (wanted, scaled) if width <= height else (scaled, wanted)
    # of a strip a pixel high only the middle is looked at: scaled whole it might take gigabytes
    if long > short * MOST_STRETCH:
        picture = _middle(picture, short * MOST_STRETCH)
        scaled = wanted * MOST_STRETCH
        size = (wanted, scaled) if width <= height else (scaled, wanted)
    picture = _resized(picture, *size, options)
    left, top = ((side - options.size) // 2 for side in picture.size)
    return [(0, picture.crop((left, top, left + options.size, top + options.size)))]


MOST_STRETCH = 50  # longer than so many times its width, a picture's ends are never seen


def _middle(picture: Image.Image, length: int) -> Image.Image:
    """Cut the middle out of the longer side."""
    width, height = picture.size
    if width > height:
        left = (width - length) // 2
        return picture.crop((left, 0, left + length, height))
    top = (height - length) // 2
    return picture.crop((0, top, width, top + length))


def pad(picture: Image.Image, options) -> Tiles:
    """The whole picture in the middle of a square of the mean colour."""
    width, height = picture.size
    side = max(width, height)
    colour = tuple(int(255 * value) for value in options.mean)
    colour = colour if len(colour) == 3 else colour * 3
    if min(width, height) * MOST_STRETCH < side:  # a square of a strip would be mostly nothing
        picture = _resized(
            picture, *grids.within(picture.size, options.size, options.size), options
        )
        width, height = picture.size
        side = max(width, height)
    square = Image.new("RGB", (side, side), colour)
    square.paste(picture, ((side - width) // 2, (side - height) // 2))
    return [(0, _resized(square, options.size, options.size, options))]


def within(picture: Image.Image, options) -> Tiles:
    """The whole picture, made smaller where it must be, filled up to whole patches."""
    width, height = picture.size
    most = (options.size, options.height or options.size)
    if width > most[0] or height > most[1]:
        scale = min(most[1] / height, most[0] / width)
        size = max(int(width * scale), 1), max(int(height * scale), 1)
        picture = _resized(picture, *size, options)
    patch = options.patch
    sides = [-(-side // patch) * patch for side in picture.size]
    filled = Image.new("RGB", tuple(sides), (options.fill,) * 3)
    filled.paste(picture, (0, 0))
    return [(0, filled)]


def patches(picture: Image.Image, options) -> Tiles:
    """The whole picture in its own shape, as large as the number of patches allows."""
    width, height = picture.size
    patch, most = options.patch, options.most_patches

    def sides(scale: float) -> tuple[int, int]:
        return tuple(max(1, math.ceil(side * scale / patch)) for side in (width, height))

    # the greatest scale that fits, to 1e-5, as SigLIP 2 looks for it
    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(sides(middle)) <= most else (low, middle)
    # so long a strip that even a patch a side is too many: as many as there may be
    columns, rows = (min(side, most) for side in sides(low))
    return [(0, _resized(picture, columns * patch, rows * patch, options))]


def blocks(picture: Image.Image, options) -> Tiles:
    """The whole picture in about its own shape, in whole blocks of merge x merge patches."""
    width, height = picture.size
    factor, area = options.patch * options.merge, options.patch**2
    sides = [round(side / factor) * factor for side in (width, height)]
    if math.prod(sides) > options.most_patches * area:
        scale = math.sqrt(width * height / (options.most_patches * area))
        sides = [max(math.floor(s / scale / factor), 1) * factor for s in (width, height)]
    elif math.prod(sides) < options.least_patches * area:
        scale = math.sqrt(options.least_patches * area / (width * height))
        sides = [math.ceil(s * scale / factor) * factor for s in (width, height)]
    return [(0, _resized(picture, *(max(side, factor) for side in sides), options))]


def tiles(picture: Image.Image, options) -> Tiles:
    """Tiles of the grid nearest in shape, then the thumbnail."""
    columns, rows = grids.nearest(picture.size, options.most_tiles, options.size)
    large = _resized(picture, columns * options.size, rows * options.size, options)
    if columns * rows == 1:
        return [(0, large)]
    return _cut(large, options.size) + thumbnail(picture, options)


def anyres(picture: Image.Image, options) -> Tiles:
    """The thumbnail, then tiles of the grid that wastes least, black around the picture."""
    columns, rows = grids.least_waste(picture.size, options.grids, options.size)
    size = columns * options.size, rows * options.size
    inside = _resized(picture, *grids.within(picture.size, *size), options)
    large = Image.new("RGB", size)
    large.paste(inside, tuple((a - b) // 2 for a, b in zip(size, inside.size, strict=True)))
    return thumbnail(picture, options) + _cut(large, options.size)


def canvas(picture: Image.Image, options) -> Tiles:
    """Tiles of the grid that lets the picture grow least, black right of and below it."""
    columns, rows = grids.roomiest(picture.size, options)
    width, height = picture.size
    sides = (columns * options.size, rows * options.size)
    # as large as it is, but no smaller than a tile
    wide, high = (min(max(a, options.size), b) for a, b in zip(picture.size, sides, strict=True))
    if wide / width < high / height:
        size = wide, min(math.floor(height * (wide / width)) or 1, high)
    else:
        size = min(math.floor(width * (high / height)) or 1, wide), high
    large = Image.new("RGB", sides)
    large.paste(_resized(picture, *size, options), (0, 0))
    return _cut(large, options.size)


def hd(picture: Image.Image, options) -> Tiles:
    """The thumbnail, then tiles that cover the picture, white right of and below it.

    As transformers does it: the picture is scaled by torch, whose rounding is not Pillow's, and the
    thumbnail is made of the normalised tiles, the white among them. A strip that would be less than
    ten pixels across is refused there; here it is read.
    """
    grid = grids.covering(picture.size, options)
    wide, high = grids.scaled(picture.size, grid, options.size)
    pixels = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]
    pixels = functional.interpolate(pixels, size=(high, wide), mode="bilinear", antialias=True)
    columns, rows = (n * options.size for n in grid)
    white = functional.pad(pixels[0], (0, columns - wide, 0, rows - high), value=255)
    x = options.normalised(Image.fromarray(white.permute(1, 2, 0).numpy()))
    small = (options.size, options.size)
    whole = functional.interpolate(x[None], size=small, mode="bicubic", align_corners=False)[0]
    corners = [(i, j) for i in range(0, rows, small[0]) for j in range(0, columns, small[0])]
    tiles = [x[:, i : i + small[0], j : j + small[0]] for i, j in corners]
    return [(0, whole)] * options.thumbnail + list(enumerate(tiles, 1))


def thumbnail(picture: Image.Image, options) -> Tiles:
    """The whole picture as one tile, where there shall be one."""
    return stretch(picture, options) if options.thumbnail else []


FITTED: dict[str, Callable[..., Tiles]] = {
    "stretch": stretch,
    "crop": crop,
    "pad": pad,
    "tiles": tiles,
    "anyres": anyres,
    "canvas": canvas,
    "hd": hd,
    "patches": patches,
    "blocks": blocks,
    "within": within,
}


def _cut(picture: Image.Image, side: int) -> Tiles:
    """Cut into tiles, row by row, numbered from 1."""
    width, height = picture.size
    corners = [(x, y) for y in range(0, height, side) for x in range(0, width, side)]
    return [(i, picture.crop((x, y, x + side, y + side))) for i, (x, y) in enumerate(corners, 1)]


def _resized(picture: Image.Image, width: int, height: int, options) -> Image.Image:
    from features.patches import RESAMPLES

    return picture.resize((width, height), RESAMPLES[options.resample])
