"""Pictures of every kind come out alike, and what is none, or too large, is refused in one line."""

import zlib

import numpy as np
import pytest
from PIL import Image

from features import image

RAMP = np.linspace(0, 255, 24 * 16 * 3).reshape(16, 24, 3).astype(np.uint8)


def saved(folder, name: str, picture: Image.Image | None = None, **options):
    """Save a picture, the ramp unless another is given; give its path."""
    path = folder / name
    (picture or Image.fromarray(RAMP)).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm"])
def test_lossless_formats_are_the_pixels(tmp_path, name):
    path = saved(tmp_path, name)
    assert np.array_equal(image.load(path), RAMP)
    assert image.info(path) == image.Info(24, 16, 1)


def test_every_mode_becomes_colour(tmp_path):
    grey = Image.fromarray(RAMP[..., 0])
    wanted = np.repeat(RAMP[..., :1], 3, 2)
    assert np.array_equal(image.load(saved(tmp_path, "l.png", grey)), wanted)
    palette = Image.fromarray(RAMP).quantize(200)
    found = image.load(saved(tmp_path, "p.png", palette))
    assert np.array_equal(found, np.asarray(palette.convert("RGB")))
    cmyk = Image.fromarray(RAMP).convert("CMYK")
    found = image.load(saved(tmp_path, "c.tiff", cmyk))
    assert np.abs(found.astype(int) - RAMP).max() <= 1
    assert image.load(saved(tmp_path, "1.png", grey.convert("1"))).max() == 255


@pytest.mark.parametrize(("name", "kind"), [("a.png", np.uint16), ("a.tiff", np.float32)])
def test_deep_grey_is_scaled_and_not_clipped(tmp_path, name, kind):
    white = 65535 if kind is np.uint16 else 1.0
    values = (RAMP[..., 0].astype(np.float64) / 255 * white).astype(kind)
    found = image.load(saved(tmp_path, name, Image.fromarray(values)))
    assert np.array_equal(found[..., 0], RAMP[..., 0])


def test_what_is_no_brightness_is_refused(tmp_path):
    values = np.zeros((4, 4), np.float32)
    values[0, 0] = np.nan
    with pytest.raises(ValueError, match="n.tiff: no picture.*no numbers"):
        image.load(saved(tmp_path, "n.tiff", Image.fromarray(values)))
    with pytest.raises(ValueError, match="-3 to -?0, wanted 0 to 1"):
        image.load(saved(tmp_path, "m.tiff", Image.fromarray(-3 * np.eye(4, dtype=np.float32))))


def test_what_is_transparent_lies_on_white(tmp_path):
    alpha = np.dstack([RAMP, np.full((16, 24), 255, np.uint8)])
    alpha[:8, ..., 3] = 0
    alpha[8, ..., 3] = 128
    found = image.load(saved(tmp_path, "a.png", Image.fromarray(alpha)))
    assert (found[:8] == 255).all() and np.array_equal(found[9:], RAMP[9:])
    assert np.abs(found[8].astype(int) - (RAMP[8].astype(int) + 255) / 2).max() <= 1
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    found = image.load(saved(tmp_path, "p.png", palette, transparency=1))
    assert (found == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_turned_upright(tmp_path, orientation):
    """As PIL's own transposition, and the header's size with it."""
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # PIL's Transpose by EXIF's number
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, "a.png", exif=exif.tobytes())
    wanted = Image.fromarray(RAMP)
    if orientation > 1:
        wanted = wanted.transpose(turns[orientation])
    assert np.array_equal(image.load(path), np.asarray(wanted))
    assert (image.info(path).width, image.info(path).height) == wanted.size


def test_animations(tmp_path):
    shades = [Image.new("RGB", (5, 4), (40 * i,) * 3) for i in range(4)]
    path = saved(tmp_path, "a.gif", shades[0], save_all=True, append_images=shades[1:], duration=80)
    assert image.info(path) == image.Info(5, 4, 4)
    assert image.load(path)[0, 0, 0] == 0
    assert [f[0, 0, 0] for f in image.frames(path, (1, 3, 1))] == [40, 120, 40]
    assert image.durations(path) == [0.08] * 4
    with pytest.raises(ValueError, match="no frame 7, it has 4"):
        image.frames(path, [7])


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


@pytest.mark.parametrize("size", [(20_000, 20_000), (20_000, 10), (60_000, 60_000), (2**31 - 1, 9)])
def test_bombs_are_refused_by_their_header(tmp_path, size):
    """Some hundred bytes that ask for gigabytes: nothing of them is decoded."""
    width, height = (side.to_bytes(4, "big") for side in size)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", width + height + b"\x08\x02\x00\x00\x00")
    path = tmp_path / "bomb.png"
    path.write_bytes(head + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b""))
    for read in (image.info, image.load):
        with pytest.raises(ValueError, match="bomb.png: "):
            read(path)


def test_damaged_files_are_named(tmp_path):
    good = saved(tmp_path, "a.jpg", quality=90).read_bytes()
    for name, data in {
        "cut.jpg": good[: len(good) // 2], "empty.jpg": b"", "text.jpg": b"no picture at all",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=f"{name}: no picture that can be read") as error:
            image.load(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="absent.png: no such file"):
        image.load(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="no file"):
        image.info(tmp_path)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change some bytes, cut, or repeat a stretch."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 12))):
        place = int(rng.integers(len(out)))
        out[place] = int(rng.integers(256))
    kind = rng.random()
    if kind < 0.25:
        out = out[: int(rng.integers(1, len(out)))]
    elif kind < 0.35:
        begin, end = sorted(rng.integers(len(out), size=2))
        out = out[:end] + out[begin:end] + out[end:]
    return bytes(out)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.tiff", "a.bmp"])
def test_mutated_pictures_are_read_or_refused(tmp_path, name, request):
    """A picture of bounded size, or one line that names the file; nothing else, and soon."""
    good = saved(tmp_path, name).read_bytes()
    rounds = 3000 if request.config.getoption("--slow") else 60
    rng, path = np.random.default_rng(len(name)), tmp_path / f"m_{name}"
    read = 0
    for _ in range(rounds):
        path.write_bytes(mutated(good, rng))
        try:
            pixels = image.load(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            read += 1
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert pixels.shape[0] * pixels.shape[1] <= image.MOST_PIXELS
    assert 0 < read < rounds
