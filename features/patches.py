"""Pictures to patches: resized, cut to tiles, normalised, and each patch a row with its place.

    front = Patches(size=336, patch=14, fit="crop", mean=CLIP_MEAN, std=CLIP_STD)
    x, n = front(pixels)         # (576, 3 * 14 * 14 + 3), 576

A row is the pixels of a patch (channel, row, column), then where it stands: tile, row, column. A
picture that is one tile has tile 0; where it is cut up, 0 is the thumbnail of the whole and tiles
count from 1, row by row. Rows and columns are those inside the tile; with "anyres", "canvas" and
"hd" those of all tiles together, with "anyres" and "hd" -1 where a patch holds nothing of the
picture. Ways to fit a picture (`fit`):

    stretch   to size x size, whatever its shape: SigLIP, ViT, MAE
    crop      the shorter side to `short` (or size), then the middle size x size: CLIP, DINOv2
    pad       as square, filled up with the mean colour, then to size x size: LLaVA 1.5
    tiles     to the grid of tiles nearest in shape, up to `most_tiles` of size x size, and the
              thumbnail behind them: InternVL, NVLM
    anyres    kept in shape within the grid that wastes least of it, black around it, and the
              thumbnail before the tiles: LLaVA-NeXT
    canvas    no smaller than a tile, at the upper left of the grid of tiles, up to `most_tiles`,
              that lets it grow least; black around it, no thumbnail: Llama 3.2
    hd        to the full width or height of tiles that cover it, up to `most_tiles`, white right of
              and below it, and the thumbnail before them: Phi-4-multimodal
    patches   as large as `most_patches` allow, in its own shape: SigLIP 2 NaFlex
    blocks    the same in whole blocks of merge x merge patches, which stand one after another in
              its rows; `least_patches` or more: Qwen2-VL
    within    made smaller, if need be, to fit size (height, width); whole patches: Fuyu

H, W: height and width; P: side of a patch; C: channels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from features import grids, tiling

PLACE = 3  # columns behind the pixels: tile, row, column
FITS = ("stretch", "crop", "pad", "tiles", "anyres", "canvas", "hd", "patches", "blocks",
        "within")  # fmt: skip
FREE = ("patches", "blocks", "within")  # pictures of any shape, in one piece
RESAMPLES = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = {"fit": "crop", "mean": CLIP_MEAN, "std": CLIP_STD}
# What published encoders were trained with; further settings go over these.
PRESETS = {
    "patches": {},
    "clip": {**CLIP, "size": 224},
    "clip336": {**CLIP, "size": 336, "patch": 14},
    "siglip": {"size": 224, "fit": "stretch"},
    "siglip2": {"fit": "patches", "resample": "bilinear"},
    "vit": {"size": 224, "fit": "stretch", "resample": "bilinear"},
    "dinov2": {"size": 224, "short": 256, "patch": 14, "fit": "crop",
               "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "mae": {"size": 224, "fit": "stretch", "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "llava15": {**CLIP, "size": 336, "patch": 14, "fit": "pad"},
    "llava_next": {**CLIP, "size": 336, "patch": 14, "fit": "anyres"},
    "qwen2_vl": {**CLIP, "patch": 14, "fit": "blocks", "least_patches": 16, "most_patches": 5120},
    "mllama": {**CLIP, "size": 560, "patch": 14, "fit": "canvas", "most_tiles": 4,
               "resample": "bilinear"},
    "phi4": {"size": 448, "patch": 14, "fit": "hd", "most_tiles": 36},
    "nvlm": {**CLIP, "size": 448, "patch": 14, "fit": "tiles", "most_tiles": 6},
    "fuyu": {"size": 1920, "height": 1080, "patch": 30, "fit": "within",
             "resample": "bilinear", "fill": 1},
}  # fmt: skip


@dataclass(frozen=True)
class Patches:
    """The front end.

    Attributes:
        size: side of a tile in pixels, or (within) the greatest width.
        height: the greatest height (within), 0: as size.
        short: pixels of the shorter side before the middle is cut out (crop), 0: size.
        patch: side P of a patch.
        fit: one of FITS; see the module.
        resample: one of RESAMPLES.
        mean, std: of each channel, of values from 0 to 1.
        channels: 3, or 1 for grey.
        most_tiles: tiles at most, besides the thumbnail (tiles, canvas, hd).
        most_patches, least_patches: at most (patches, blocks), at least (blocks).
        merge: patches along a side of a block (blocks).
        grids: (columns, rows) of tiles that may be chosen (anyres).
        thumbnail: whether the whole stands beside its tiles.
        fill: 0 to 255, what stands right of and below the picture (within).
        newline: after each row of patches one more, of zeros, whose column is -1 (within).
        shift: up to this share of its sides a picture is moved in training, what leaves on one side
            replaced by the pixels of the edge.
        turn_deg: up to so many degrees it is turned in training. scale: up to this share it is made
            larger or smaller. flip: it is mirrored, half the time. brightness: up to this share
            brighter or darker.
    """

    size: int = 224
    height: int = 0
    short: int = 0
    patch: int = 16
    fit: str = "stretch"
    resample: str = "bicubic"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    channels: int = 3
    most_tiles: int = 12
    most_patches: int = 256
    least_patches: int = 1
    merge: int = 2
    grids: tuple[tuple[int, ...], ...] = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
    thumbnail: bool = True
    fill: int = 255
    newline: bool = False
    shift: float = 0.0
    turn_deg: float = 0.0
    scale: float = 0.0
    flip: bool = False
    brightness: float = 0.0

    def __post_init__(self):
        """Refuse settings that mean nothing."""
        _wanted(self.fit in FITS, self, "fit", f"one of {', '.join(FITS)}")
        _wanted(self.resample in RESAMPLES, self, "resample", f"one of {', '.join(RESAMPLES)}")
        _wanted(self.channels in (1, 3), self, "channels", "3, or 1 for grey")
        for name in ("size", "patch", "most_tiles", "most_patches", "least_patches", "merge"):
            _wanted(1 <= getattr(self, name) <= 16_384, self, name, "1 to 16384")
        for name in ("height", "short", "turn_deg"):
            _wanted(0 <= getattr(self, name) <= 16_384, self, name, "0 to 16384")
        for name in ("shift", "scale", "brightness"):
            _wanted(0 <= getattr(self, name) < 1, self, name, "a share from 0 to below 1")
        for name in ("mean", "std"):
            _wanted(len(getattr(self, name)) in (1, 3), self, name, "a number a channel")
        _wanted(min(self.std) > 0, self, "std", "numbers above 0")
        _wanted(0 <= self.fill <= 255, self, "fill", "0 to 255")
        _wanted(not self.short or self.short >= self.size, self, "short", "size or more")
        grids = all(len(g) == 2 and min(g) > 0 for g in self.grids) and self.grids
        _wanted(grids, self, "grids", "pairs (columns, rows)")
        _wanted(not self.newline or self.fit == "within", self, "newline", "it with fit = 'within'")
        whole = self.size % self.patch == 0 or self.fit in FREE
        _wanted(whole, self, "size", f"a multiple of patch = {self.patch}")

    @property
    def dim(self) -> int:
        """Values of a row: C P P pixels and the place."""
        return self.channels * self.patch**2 + PLACE

    @property
    def side(self) -> int:
        """Patches along a side of a tile."""
        return self.size // self.patch

    def count(self, n: int) -> int:
        """Give the patches of n tiles."""
        return n * self.side**2

    @property
    def random(self) -> bool:
        """Whether training changes a picture by chance."""
        return bool(self.shift or self.turn_deg or self.scale or self.flip or self.brightness)

    def __call__(self, pixels: np.ndarray, rng=None) -> tuple[torch.Tensor, int]:
        """Cut pixels (H, W, 3) uint8 into (n, dim) float32, n; where rng is given, changed before.

        Raises:
            ValueError: no such pixels.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            raise ValueError(f"wanted pixels (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
        picture = Image.fromarray(pixels)
        if rng is not None and self.random:
            from features.picture_augment import change

            picture = change(picture, self, rng)
        tiles = tiling.FITTED[self.fit](picture, self)
        x = torch.cat([self._rows(tile, number) for number, tile in tiles])
        if self.fit in grids.WHOLE:
            x[:, -PLACE:] = torch.from_numpy(
                grids.across(x[:, -PLACE:].long().numpy(), picture.size, self)
            )
        return x, len(x)

    def normalised(self, picture: Image.Image) -> torch.Tensor:
        """Turn a picture into (C, H, W) float32, normalised."""
        values = np.asarray(picture.convert("L" if self.channels == 1 else "RGB"), np.float32) / 255
        values = values.reshape(*values.shape[:2], self.channels)
        mean, std = (np.asarray(v[: self.channels], np.float32) for v in (self.mean, self.std))
        return torch.from_numpy((values - mean) / std).permute(2, 0, 1)

    def _rows(self, picture: Image.Image | torch.Tensor, tile: int) -> torch.Tensor:
        """Cut a tile into rows: (n, dim)."""
        x = picture if isinstance(picture, torch.Tensor) else self.normalised(picture)
        size = self.patch
        squares = x.unfold(1, size, size).unfold(2, size, size)  # (C, rows, columns, P, P)
        _, height, width, *_ = squares.shape
        pixels = squares.permute(1, 2, 0, 3, 4).reshape(height * width, -1)
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        place = torch.stack([torch.full_like(row, tile), row, column], -1).reshape(-1, PLACE)
        rows = torch.cat([pixels, place.float()], 1)
        if self.fit == "blocks":
            m = self.merge
            rows = rows.reshape(height // m, m, width // m, m, -1).transpose(1, 2).flatten(0, 3)
        return _ended(rows, height) if self.newline else rows


def _ended(rows: torch.Tensor, height: int) -> torch.Tensor:
    """Put a mark behind each of `height` rows of patches: (n, dim) -> (n + height, dim)."""
    lines = rows.unflatten(0, (height, -1))
    marks = torch.zeros_like(lines[:, :1])
    marks[..., -PLACE:-1] = lines[:, :1, -PLACE:-1]  # tile and row
    marks[..., -1] = -1
    return torch.cat([lines, marks], 1).flatten(0, 1)


def get(name: str | None, **options) -> Patches:
    """Make a front end by its name, with other settings over the preset's.

    Raises:
        ValueError: no such preset or setting, or one that means nothing.
    """
    if name not in PRESETS:
        raise ValueError(f"no front end for pictures called {name!r}; known: {', '.join(PRESETS)}")
    known = Patches.__dataclass_fields__
    for key in options:
        if key not in known:
            raise ValueError(f"no setting called {key!r}; known: {', '.join(known)}")
    made = {**PRESETS[name], **options}
    try:
        return Patches(**{k: _frozen(v) for k, v in made.items()})
    except TypeError as error:  # a text where a number is wanted, say
        raise ValueError(f"a setting of a wrong kind: {error}") from None


def _frozen(value):
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _wanted(fine, options, name: str, what: str) -> None:
    if not fine:
        raise ValueError(f"{name}: wanted {what}, got {getattr(options, name)!r}")
