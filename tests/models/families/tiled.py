"""Phi-4-multimodal's own processor of pictures, with torchvision or without it.

Of torchvision it calls two functions, and its base class two more. Where torchvision cannot be
imported they are torch's here; grids, sizes, masks, order and counts of tokens are its own.
"""

import importlib
import sys
import types

import numpy as np
import torch
from torch.nn import functional
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import SizeDict

HOME = "transformers.models.phi4_multimodal.image_processing_phi4_multimodal"


def _resize(x, size, **_):
    """What torchvision does with uint8: bilinear, antialias."""
    return functional.interpolate(x[None], size=size, mode="bilinear", antialias=True)[0]


def _pad(x, padding, fill):
    left, top, right, bottom = padding
    assert (left, top) == (0, 0)
    return functional.pad(x, (0, right, 0, bottom), value=fill[0])


def _theirs():
    """Import their class, with torchvision or with what stands in for it."""
    try:
        return importlib.import_module(HOME).Phi4MultimodalImageProcessor
    except (ImportError, RuntimeError):
        names = ["torchvision", "torchvision.transforms", "torchvision.transforms.v2"]
        stands = {name: types.ModuleType(name) for name in names}
        stands[names[-1]].functional = types.SimpleNamespace(resize=_resize, pad=_pad)
        before = {name: sys.modules.get(name) for name in names}
        try:
            sys.modules.update(stands)
            return importlib.import_module(HOME).Phi4MultimodalImageProcessor
        finally:
            for name in [*names, HOME]:
                sys.modules.pop(name, None)
            sys.modules.update({name: old for name, old in before.items() if old is not None})


class Seen(BaseImageProcessor):
    """Their processor for tiles of `size`, whose count of tokens is made right for such tiles."""

    def __init__(self, size: int, patch: int):
        super().__init__()
        self.side, self.patch = size, patch
        self.own = object.__new__(_theirs())  # its __init__ looks for torchvision
        self.own.__dict__.update(
            rescale_and_normalize=lambda x, _, by, __, mean, std: (x * by - mean[0]) / std[0],
            resize=lambda x, size, resample, antialias: functional.interpolate(
                x[None], size=(size.height, size.width), mode="bicubic", align_corners=False
            )[0],
        )

    def __call__(self, images, **_):
        """Cut pictures, nested in lists or not: their names and tensors."""
        rows = [row if isinstance(row, list) else [row] for row in images]
        pixels = [
            torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
            for row in rows
            for picture in row
        ]
        half = [0.5] * 3
        made = self.own._preprocess(
            pixels, do_resize=True, size=SizeDict(height=self.side, width=self.side), resample=3,
            do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=half,
            image_std=half, patch_size=self.patch, dynamic_hd=36, return_tensors=None,
        )  # fmt: skip
        n = -(-self.side // self.patch // 2)  # the count is for thumbnails of 16 x 16 there
        counts = [count - 16 * 17 + n * (n + 1) for count in made["num_img_tokens"]]
        return BatchFeature({**made, "num_img_tokens": counts})
