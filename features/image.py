"""Pictures in files: what their header says, and their pixels, upright and in three colours.

    info("a.jpg")     # Info(width=640, height=480, frames=1), nothing decoded
    load("a.jpg")     # (480, 640, 3) uint8

Whatever the file holds comes out alike: turned as its EXIF says, 16 bits brought to 8, palette,
CMYK and grey made RGB, what is transparent laid on white. Of an animation the first frame is given
(`frames` gives more). A size is refused by the header, before a pixel of it is decoded: a file of
some kilobytes may ask for gigabytes. Formats that run programs (EPS) are not read.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, ImageSequence

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
MOST_PIXELS = 89_478_485  # a quarter of a gigabyte as RGB, Pillow's own bound of suspicion
MOST_SIDE = 16_384
TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height change places


@dataclass(frozen=True)
class Info:
    """Width and height in pixels, as the picture is seen, and the number of its frames."""

    width: int
    height: int
    frames: int = 1


def info(path: str | Path) -> Info:
    """Read a header.

    Raises:
        ValueError: no picture, or one that is too large.
    """
    with opened(path) as picture:
        width, height = picture.size
        if _orientation(picture) in TURNED:
            width, height = height, width
        return Info(width, height, getattr(picture, "n_frames", 1))


def load(path: str | Path) -> np.ndarray:
    """Decode a picture, of an animation the first frame: (height, width, 3) uint8.

    Raises:
        ValueError: no picture, a damaged or a truncated one, or one that is too large.
    """
    with opened(path) as picture:
        return pixels(picture)


def frames(path: str | Path, numbers) -> list[np.ndarray]:
    """Decode these frames of an animation, in order: each (height, width, 3) uint8.

    Raises:
        ValueError: as `load`; a frame that there is not.
    """
    wanted, found = set(numbers), {}
    with opened(path) as picture:
        for number, frame in enumerate(ImageSequence.Iterator(picture)):
            if number in wanted:
                found[number] = pixels(frame)
            if len(found) == len(wanted):
                break
        if missing := sorted(wanted - found.keys()):
            raise ValueError(f"{path}: no frame {missing[0]}, it has {number + 1}")
    return [found[number] for number in numbers]


def durations(path: str | Path) -> list[float]:
    """Give how long each frame of an animation is shown, in seconds; 0.0 where it does not say."""
    with opened(path) as picture:
        shown = [frame.info.get("duration", 0) for frame in ImageSequence.Iterator(picture)]
    return [float(ms) / 1000 if isinstance(ms, int | float) else 0.0 for ms in shown]


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture whose size has been looked at, for as long as a `with` lasts.

    Raises:
        ValueError: whatever goes wrong with it, also inside the `with`, says which file it is.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file" if not path.exists() else f"{path}: no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked here; of odd metadata
            Image.init()
            readable = [name for name in FORMATS if name in Image.OPEN]  # as Pillow was built
            with Image.open(path, formats=readable) as picture:
                check_size(*picture.size)
                yield picture
    except Exception as error:  # a damaged file ends in errors of many kinds, from many decoders
        told = " ".join(str(error).split()).replace(f"{str(path)!r}", "the file")
        if told.startswith(str(path)):
            raise ValueError(told) from None
        told = told or type(error).__name__
        raise ValueError(f"{path}: no picture that can be read: {told}") from None


def check_size(width: int, height: int) -> None:
    """Refuse what would take too much memory, or is nothing.

    Raises:
        ValueError: says how large it is, and what is allowed.
    """
    if width < 1 or height < 1:
        raise ValueError(f"{width} x {height} pixels, which is nothing")
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels, wanted at most {MOST_SIDE} a side and "
            f"{MOST_PIXELS / 1e6:.0f} million in all: scale it down"
        )


def pixels(picture: Image.Image) -> np.ndarray:
    """Decode what is open: (height, width, 3) uint8, upright, on white."""
    picture.load()
    # JPEG, say, decodes to the size its frame says, not to that of the header that was looked at
    check_size(*picture.size)
    upright = _upright(picture)
    return np.asarray(_in_colour(upright), dtype=np.uint8)


def _orientation(picture: Image.Image) -> int:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is written by many programs, and damaged by more
        return 1


def _upright(picture: Image.Image) -> Image.Image:
    if _orientation(picture) in range(2, 9):
        with contextlib.suppress(Exception):  # it turns first, and then may fail to rewrite EXIF
            return ImageOps.exif_transpose(picture)
    return picture


def _in_colour(picture: Image.Image) -> Image.Image:
    """Make any mode RGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring grey of 16 bits, of 32 bits or in floats down to 8 bits; Pillow would clip it.

    Floats are shares of white, 0 to 1, or (where any is above 1) values of 8 bits.

    Raises:
        ValueError: values that are no brightness.
    """
    values = np.asarray(picture).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    top = values.max()
    if picture.mode == "F":
        white = 1.0 if top <= 1.0 else 255.0
    else:
        white = 65535.0 if top <= 65535 else 2.0**32 - 1
    if values.min() < 0 or top > white:
        raise ValueError(f"values of {values.min():g} to {top:g}, wanted 0 to {white:g}")
    return Image.fromarray((values * (255.0 / white)).round().astype(np.uint8))
