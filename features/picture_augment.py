"""Pictures changed by chance, for training: moved, turned, scaled, mirrored, brightened."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def change(picture: Image.Image, options, rng: np.random.Generator) -> Image.Image:
    """Change a picture within what `patches.Patches` allows.

    Around it stand the pixels of its edge.
    """
    if options.flip and rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    if options.shift or options.turn_deg or options.scale:
        picture = _moved(picture, options, rng)
    if options.brightness:
        factor = float(rng.uniform(1 - options.brightness, 1 + options.brightness))
        picture = ImageEnhance.Brightness(picture).enhance(factor)
    return picture


def _moved(picture: Image.Image, options, rng: np.random.Generator) -> Image.Image:
    """Move, turn and scale in one go, so that pixels are interpolated once."""
    width, height = picture.size
    right, down = (float(rng.uniform(-options.shift, options.shift)) * s for s in picture.size)
    angle = np.radians(rng.uniform(-options.turn_deg, options.turn_deg))
    factor = 1 + float(rng.uniform(-options.scale, options.scale))
    # each pixel that comes out is taken from the place where the inverse map finds it
    a, b = np.cos(angle) / factor, np.sin(angle) / factor
    x, y = width / 2, height / 2
    c, f = x - a * (x + right) - b * (y + down), y + b * (x + right) - a * (y + down)
    edge = max(width, height) // 2
    values = np.pad(np.asarray(picture), ((edge, edge), (edge, edge), (0, 0)), mode="edge")
    inverse = (a, b, c + edge, -b, a, f + edge)
    return Image.fromarray(values).transform(
        (width, height), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR
    )
