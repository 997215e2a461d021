"""Phi-4-multimodal's encoder of pictures, over transformers' `Phi4MultimodalVisionModel`.

A SigLIP whose tiles (front end `phi4`) may be filled up: a patch in which nothing of the picture is
(row -1) is not seen by the others, and the positions of those that are left are spread over the
whole range, as in NaViT. The states are those of one layer, `feature_layer`, the last but one.

transformers 5.23 attends causally where no tile of a batch is filled up, and to all patches where
one is; here all are always seen.

Shapes: x (B, T, C P P + 3) patches -> (B, T, D) states. Papers: Phi-4-Mini, arXiv 2503.01743;
SigLIP, 2303.15343; NaViT, 2307.06304.
"""

import copy
import dataclasses
import functools

from torch import nn

from speechllm.models.encoders import _pretrained, _vision
from speechllm.models.hub import newer, read_config
from speechllm.models.masks import valid_mask, zero_beyond

# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "image_size": 8,
         "crop_size": 8, "num_attention_heads": 4, "patch_size": 2}  # fmt: skip
TINY = ((15, {"config": SMALL}),)
UNREACHED = r"model\.(encoder\.layers\.1|post_layernorm|head)\."  # above the layer that is read
# A whole Phi-4-multimodal keeps its encoder under this name, beside the rest.
RENAME = {r"^model\.embed_tokens_extend\.image_embed\.img_processor\.": ""}
LEFT_OVER = (r"model\.(embed_tokens|layers|norm)\.", r"lm_head\.",
             r"model\.embed_tokens_extend\.(audio_embed|image_embed)\.")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Which checkpoint: a Hub id or folder. config: fields of its configuration that differ."""

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    placed = True

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        kind = newer("Phi4MultimodalVisionConfig")
        return read_config(kind, self.pretrained, self.config, "vision_config")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size

    @property
    def side(self) -> int:
        """Patches along a side of a tile."""
        return self.hf.crop_size // self.hf.patch_size

    def count(self, n):
        """Give as many states as there are patches; n may be a tensor of lengths."""
        return n

    def check(self, front) -> None:
        """Refuse a front end of other tiles, or of such as are not filled up.

        Raises:
            ValueError: it is one.
        """
        wanted = ("hd", self.hf.crop_size, self.hf.patch_size)
        if tuple(getattr(front, name, None) for name in ("fit", "size", "patch")) != wanted:
            raise ValueError(
                f"phi4_siglip: wanted the front end phi4 with size = {wanted[1]}, patch = "
                f"{wanted[2]}"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: other patches than the checkpoint has, or no such checkpoint.
        """
        _vision.pixels(in_dim, self.hf.num_channels, self.hf.patch_size, "phi4_siglip")
        return Phi4Siglip(self, copy.deepcopy(self.hf))


class Phi4Siglip(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        kind = newer("Phi4MultimodalVisionModel", "transformers.models.phi4_multimodal")
        self.config = config
        self.model = _pretrained.made(kind, config.pretrained, hf, LEFT_OVER, RENAME)
        self.depth = hf.feature_layer % (hf.num_hidden_layers + 1)

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, T, D), lengths (B,)."""
        hf, side, total = self.config.hf, self.config.side, x.shape[1]
        tiles, inside, used = _vision.tiled(zero_beyond(x, lengths), lengths, side**2)
        pixels, places = _vision.split(tiles)
        pictures = _vision.pictures(pixels, hf.num_channels, side)
        there = (places[..., 1] >= 0) & valid_mask(inside, side**2)
        there[:, 0] |= ~there.any(1)  # an empty item still wants something to see
        states = self.model.embeddings(pictures, there.unflatten(1, (side, side)))
        mask = there[:, None, None].expand(-1, 1, side**2, -1)
        for layer in self.model.encoder.layers[: self.depth]:
            states = layer(states, mask)
        return _vision.joined(states, used)[:, :total], lengths

    def places(self, x, lengths):
        """Say where the state of each patch stands: tile, row, column, (B, T, 3)."""
        return _vision.split(zero_beyond(x, lengths))[1]
