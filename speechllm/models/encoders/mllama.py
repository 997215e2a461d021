"""Llama 3.2 Vision's encoder, as transformers has it: the tiles of a picture together.

Each tile's patches and class token know by gated embeddings where the tile stands in which grid;
32 layers over all tiles, 8 gated ones behind them, and the states of five layers beside the last.
The front end is `mllama`: up to four tiles in a grid.

Shapes: x (B, T, C P P + 3) patches -> (B, L, D), one more a tile for its class token, D six times
the encoder's width. A picture is encoded with as many tiles as there can be, those that it has not
black, as in transformers, whose patches see them.
Paper: Llama 3, arXiv 2407.21783, section 7; Llama 3.2 Vision's own code and checkpoints.
"""

import copy
import dataclasses
import functools

import torch
from torch import nn

from speechllm.models.encoders import _pretrained, _vision
from speechllm.models.hub import newer, read_config
from speechllm.models.masks import zero_beyond

# Small enough for tests: (width of the front end, settings) of each case.
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 4,
         "intermediate_size": 24, "vision_output_dim": 32, "patch_size": 2, "image_size": 10,
         "intermediate_layers_indices": [0]}  # fmt: skip
TINY = ((15, {"config": SMALL}),)
UNREACHED = r"model\..*(tile_embedding|tile_positional_embedding\.embedding)"  # their gates are 0
LEFT_OVER = (r"language_model\.", r"model\.language_model\.", r"(model\.)?multi_modal_projector\.",
             r"lm_head\.")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Which checkpoint: a Hub id or folder. config: fields of its configuration that differ."""

    pretrained: str = ""
    config: dict = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        kind = newer("MllamaVisionConfig", "transformers.models.mllama.configuration_mllama")
        return read_config(kind, self.pretrained, self.config, "vision_config")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size * (1 + len(self.hf.intermediate_layers_indices))

    @property
    def side(self) -> int:
        """Patches along a side of a tile."""
        return self.hf.image_size // self.hf.patch_size

    def count(self, n):
        """Give the number of states L for n patches; n may be a tensor of lengths."""
        return -(-n // self.side**2) * (self.side**2 + 1)

    def check(self, front) -> None:
        """Refuse a front end of other tiles, of more than there can be, or that do not say where.

        Raises:
            ValueError: it is one.
        """
        hf = self.hf
        wanted = (hf.image_size, hf.patch_size, "canvas")
        got = tuple(getattr(front, name, None) for name in ("size", "patch", "fit"))
        if got != wanted or front.most_tiles > hf.max_num_tiles:
            raise ValueError(
                f"mllama: wanted the front end mllama with size = {hf.image_size}, patch = "
                f"{hf.patch_size} and most_tiles of at most {hf.max_num_tiles}"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: other patches than the checkpoint has, or no such checkpoint.
        """
        _vision.pixels(in_dim, self.hf.num_channels, self.hf.patch_size, "mllama")
        return Mllama(self, copy.deepcopy(self.hf))


class Mllama(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        kind = newer("MllamaVisionModel")
        self.config = config
        self.model = _pretrained.made(kind, config.pretrained, hf, LEFT_OVER)

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,).

        Raises:
            ValueError: a picture of more tiles than there can be.
        """
        hf, side = self.config.hf, self.config.side
        most, size, patch = hf.max_num_tiles, side**2, hf.patch_size
        if x.shape[1] > most * size:
            raise ValueError(f"mllama: wanted at most {most} tiles of {size} patches, "
                             f"got {x.shape[1]} patches")  # fmt: skip
        x = zero_beyond(x, lengths)
        pixels, places = _vision.split(nn.functional.pad(x, (0, 0, 0, most * size - x.shape[1])))
        # (B, W, rows, columns, C, P, P) -> (B, 1, W, C, S, S)
        tiles = pixels.reshape(len(x), most, side, side, hf.num_channels, patch, patch)
        tiles = tiles.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(4, 5)[:, None]
        counts = (-(-lengths // size)).clamp(min=1)
        there = torch.arange(most, device=x.device) < counts[:, None]
        ratios = self._ratios(counts, places)
        states = self.model(tiles, ratios[:, None], there[:, None].long()).last_hidden_state
        steps = self.config.count(lengths)
        return states.flatten(1, 3)[:, : max(int(steps.max()), 1)], steps

    def _ratios(self, counts, places):
        """Number the grids of pictures of `counts` (B,) tiles, from 1, by the columns they have."""
        known = [tuple(grid) for grid in self.config.hf.supported_aspect_ratios]
        numbers = []
        for tiles, column in zip(counts.tolist(), places[..., 2].amax(1).tolist(), strict=True):
            columns = min(max(column // self.config.side + 1, 1), tiles)
            grid = (-(-tiles // columns), columns)
            numbers.append(known.index(grid if grid in known else (1, tiles)) + 1)
        return torch.tensor(numbers, device=places.device)
