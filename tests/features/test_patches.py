"""Patches against transformers' image processors, those that work by Pillow; tiling by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from features import grids, patches, picture_augment
from features.patches import PLACE

SIZES = [(640, 480), (333, 500), (57, 41), (900, 120), (1, 1), (97, 98)]  # width, height


def picture(size) -> np.ndarray:
    """Smooth shapes and noise, so that resampling has something to do."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(width)
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 13)], -1)
    noise = rng.normal(0, 0.2, (height, width, 3))
    return ((waves + noise) * 60 + 128).clip(0, 255).astype(np.uint8)


def pixels_of(front, x):
    """Put rows of one tile back together: (C, H, W)."""
    size, places = front.patch, x[:, -PLACE:].long()
    rows, columns = (int(places[:, i].max()) + 1 for i in (1, 2))
    squares = x[:, :-PLACE].reshape(rows, columns, front.channels, size, size)
    return squares.permute(2, 0, 3, 1, 4).reshape(front.channels, rows * size, columns * size)


def processed(name: str, of, /, **options):
    """What an image processor of transformers makes of the picture."""
    import transformers

    made = getattr(transformers, name)(**options)
    return made(Image.fromarray(picture(of)), return_tensors="pt")


WHOLE = {
    "clip": ("CLIPImageProcessorPil", {}),
    "siglip": ("SiglipImageProcessorPil", {}),
    "vit": ("ViTImageProcessorPil", {}),
    "dinov2": ("BitImageProcessorPil", {
        "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
        "image_mean": list(patches.IMAGENET_MEAN), "image_std": list(patches.IMAGENET_STD),
    }),
    "mae": ("ViTImageProcessorPil", {
        "resample": 3, "image_mean": list(patches.IMAGENET_MEAN),
        "image_std": list(patches.IMAGENET_STD),
    }),
    "clip336": ("CLIPImageProcessorPil", {
        "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336},
    }),
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", WHOLE)
def test_pixels_are_those_of_transformers(name, size):
    front, (kind, options) = patches.get(name), WHOLE[name]
    x, n = front(picture(size))
    wanted = processed(kind, size, **options)["pixel_values"][0]
    assert n == len(x) == front.count(1) and x.shape[1] == front.dim
    torch.testing.assert_close(pixels_of(front, x), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_siglip2_is_transformers(size):
    front = patches.get("siglip2")
    x, n = front(picture(size))
    made = processed("Siglip2ImageProcessorPil", size)
    rows, columns = made["spatial_shapes"][0].tolist()
    assert n == rows * columns == int(made["pixel_attention_mask"].sum())
    assert x[:, -2:].max(0).values.tolist() == [rows - 1, columns - 1]
    ours = x[:, :-PLACE].reshape(n, 3, 16, 16).permute(0, 2, 3, 1).reshape(n, -1)
    torch.testing.assert_close(ours, made["pixel_values"][0, :n], atol=1e-5, rtol=0)


def tile_pixels(front, x):
    """Take rows apart by tile, in order: (tiles, C, H, W)."""
    x = x.clone()
    x[:, -2:] = x[: front.count(1), -2:].repeat(len(x) // front.count(1), 1)  # inside each
    return torch.stack([pixels_of(front, part) for part in x.split(front.count(1))])


@pytest.mark.parametrize("size", SIZES)
def test_llava_next_is_transformers(size):
    options = {
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 336, "width": 336},
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    }
    made = processed("LlavaNextImageProcessorPil", size, **options)
    # its grids are (height, width), ours (columns, rows)
    grids = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
    front = patches.get("llava_next", grids=grids)
    x, n = front(picture(size))
    torch.testing.assert_close(tile_pixels(front, x), made["pixel_values"][0], atol=1e-5, rtol=0)
    assert x[:: front.count(1), -PLACE].tolist() == [*range(n // front.count(1))]


@pytest.mark.parametrize("size", SIZES)
def test_tiles_are_those_of_transformers(size):
    """GOT-OCR 2 cuts as InternVL and NVLM do."""
    options = {"crop_to_patches": True, "max_patches": 6, "size": {"height": 56, "width": 56}}
    made = processed("GotOcr2ImageProcessorPil", size, **options)
    front = patches.get("nvlm", size=56)
    x, n = front(picture(size))
    torch.testing.assert_close(tile_pixels(front, x), made["pixel_values"], atol=1e-5, rtol=0)
    tags = x[:: front.count(1), -PLACE].tolist()
    assert tags == ([0] if len(tags) == 1 else [*range(1, len(tags)), 0])


def test_a_square_of_the_mean_colour():
    """LLaVA 1.5: the picture in the middle, whole."""
    front = patches.get("llava15")
    x, _ = front(np.full((100, 300, 3), 255, np.uint8))
    whole = pixels_of(front, x)
    white = (1 - torch.tensor(patches.CLIP_MEAN)) / torch.tensor(patches.CLIP_STD)
    torch.testing.assert_close(whole[:, 168, 168], white, atol=1e-5, rtol=0)
    assert whole[:, :100].abs().max() < 0.02 and whole[:, -100:].abs().max() < 0.02


def test_within_a_size():
    front = patches.get("fuyu", size=64, height=32, patch=8)
    for size, wanted in (
        ((64, 32), (8, 4)),
        ((128, 40), (8, 3)),
        ((5, 30), (1, 4)),
        ((1, 1), (1, 1)),
    ):
        x, n = front(np.zeros((size[1], size[0], 3), np.uint8))
        assert n == wanted[0] * wanted[1] and x[-1, -2:].tolist() == [wanted[1] - 1, wanted[0] - 1]


def test_rows_that_end():
    front = patches.get("fuyu", size=64, height=32, patch=8, newline=True)
    x, n = front(picture((40, 20)))
    plain, _ = patches.get("fuyu", size=64, height=32, patch=8)(picture((40, 20)))
    assert n == len(x) == 3 * 6
    marks = x[5::6]
    assert (marks[:, :-PLACE] == 0).all() and marks[:, -PLACE:].tolist() == [
        [0, row, -1] for row in range(3)
    ]
    assert torch.equal(x.unflatten(0, (3, 6))[:, :5].flatten(0, 1), plain)


@pytest.mark.parametrize("name", [*patches.PRESETS])
@pytest.mark.parametrize("size", [(16384, 1), (1, 16384), (1, 1)])
def test_extreme_shapes_stay_small(name, size):
    x, n = patches.get(name)(np.full((size[1], size[0], 3), 9, np.uint8))
    assert n == len(x) > 0 and x.isfinite().all() and x.nbytes < 1e8


def test_nearest_shape():
    assert grids.nearest((800, 400), 6, 448) == (2, 1)
    assert grids.nearest((400, 1200), 6, 448) == (1, 3)
    assert grids.nearest((3000, 3000), 6, 448) == (2, 2)
    assert grids.nearest((200, 200), 6, 448) == (1, 1)
    assert grids.least_waste((1000, 300), ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)), 336) == (3, 1)


def test_grey_and_chance():
    chance = {"shift": 0.2, "turn_deg": 20.0, "scale": 0.2}
    front = patches.get("patches", size=28, patch=4, channels=1, **chance)
    x, _ = front(picture((28, 28)))
    assert x.shape == (49, 19) and front.random and not patches.get("clip").random
    again, _ = front(picture((28, 28)))
    rng = np.random.default_rng(0)
    moved, _ = front(picture((28, 28)), rng)
    assert torch.equal(x, again) and not torch.equal(x, moved)
    assert torch.equal(moved, front(picture((28, 28)), np.random.default_rng(0))[0])


def test_moved_as_asked():
    """A quarter turn to the right, and a shift, against numpy's own."""
    front = patches.get("patches", turn_deg=90.0)
    square = Image.fromarray(picture((41, 41)))

    class Most:
        def uniform(self, low, high):
            return high

    turned = np.asarray(picture_augment.change(square, front, Most())).astype(int)
    assert np.abs(turned - np.rot90(np.asarray(square), -1).astype(int)).max() <= 1
    shifted = picture_augment.change(square, patches.get("patches", shift=10 / 41), Most())
    wanted = np.asarray(square)[:-10, :-10]
    assert np.abs(np.asarray(shifted)[10:, 10:].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "zoom"}, "fit: wanted one of"),
        ({"size": 30, "patch": 14}, "size: wanted a multiple of patch = 14"),
        ({"size": 10**9}, "size: wanted 1 to 16384"),
        ({"std": (0.0, 1.0, 1.0)}, "std: wanted numbers above 0"),
        ({"sizes": 3}, "no setting called 'sizes'"),
        ({"channels": 4}, "channels: wanted 3"),
        ({"size": "large"}, "wrong kind"),
        ({"short": 10}, "short: wanted size or more"),
        ({"newline": True}, "newline: wanted it with fit = 'within'"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        patches.get("patches", **options)
