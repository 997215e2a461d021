"""Qwen2-VL's encoder, as transformers has it: pictures of any shape, rotary positions in two parts.

The front end is `qwen2_vl`: patches in blocks of 2 x 2, which the adapter (mlp, stack 4) brings to
a soft token each. The encoder's first layer knows pairs of frames: a picture is seen twice.

Shapes: x (B, T, C P P + 3) patches -> (B, T, D) states. Paper: Qwen2-VL, arXiv 2409.12191.
"""

import copy
import dataclasses
import functools

from torch import nn

from speechllm.models.encoders import _pretrained, _vision
from speechllm.models.hub import newer, read_config
from speechllm.models.masks import valid_mask, zero_beyond

# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 2,
         "hidden_size": 32}  # fmt: skip
TINY = ((15, {"config": SMALL}),)
LEFT_OVER = (r"(visual\.)?merger\.", r"model\.", r"lm_head\.", r"language_model\.")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which checkpoint: a Hub id or folder. config: fields of its configuration that differ."""

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    placed = True

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        kind = newer("Qwen2VLVisionConfig", "transformers.models.qwen2_vl.configuration_qwen2_vl")
        return read_config(kind, self.pretrained, self.config, "vision_config")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.embed_dim

    def count(self, n):
        """Give as many states as there are patches; n may be a tensor of lengths."""
        return n

    def check(self, front) -> None:
        """Refuse a front end whose patches are other, or do not stand in blocks.

        Raises:
            ValueError: it is one.
        """
        merge, patch = self.hf.spatial_merge_size, self.hf.patch_size
        got = tuple(getattr(front, name, None) for name in ("fit", "merge", "patch"))
        if got != ("blocks", merge, patch):
            raise ValueError(
                f"qwen2_vl: wanted the front end qwen2_vl with patch = {patch}, merge = {merge}"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: other patches than the checkpoint has, or no such checkpoint.
        """
        _vision.pixels(in_dim, self.hf.in_channels, self.hf.patch_size, "qwen2_vl")
        return Qwen2VL(self, copy.deepcopy(self.hf))


class Qwen2VL(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        kind = newer(
            "Qwen2VisionTransformerPretrainedModel",
            "transformers.models.qwen2_vl.modeling_qwen2_vl",
        )
        self.config = config
        rename = {r"^visual\.": ""}
        self.model = _pretrained.made(kind, config.pretrained, hf, LEFT_OVER, rename)
        self.model.merger = None  # the adapter

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, T, D), lengths (B,)."""
        model, hf = self.model, self.config.hf
        valid = valid_mask(lengths, x.shape[1])
        pixels, places = _vision.split(zero_beyond(x, lengths)[valid])  # those of all pictures
        twice = pixels.unflatten(-1, (hf.in_channels, 1, -1))
        twice = twice.expand(-1, -1, hf.temporal_patch_size, -1).flatten(1)
        ends = nn.functional.pad(lengths[lengths > 0].cumsum(0), (1, 0)).int()
        states = model.patch_embed(twice)
        turns = model.rotary_pos_emb(states, places[:, 1:].clamp(min=0))
        for block in model.blocks:
            states = block(states, cu_seqlens=ends, position_embeddings=turns)
        out = states.new_zeros(*x.shape[:2], states.shape[-1])
        return out.masked_scatter(valid[..., None], states), lengths

    def places(self, x, lengths):
        """Say where the state of each patch stands: tile, row, column, (B, T, 3)."""
        return _vision.split(zero_beyond(x, lengths))[1]
