"""Vision Transformers over transformers: CLIP, SigLIP (2), ViT, DINOv2, MAE, BLIP-2, InternVL.

Pictures come as rows of patches (features/patches.py). A tile is encoded by itself, its positions
those it was learned with; SigLIP 2 takes a picture of any shape in one piece. `layers` joins the
states of several layers side by side, as Llama 3.2's five with the last; layers above the highest
that is asked for are not computed. Attention never sees what is beyond an incomplete tile's end.

Shapes: x (B, T, C P P + 3) patches -> (B, L, D) states, one a patch; one more a tile where the
class token is kept (`token = "keep"`), and where tiles are tagged (`tags`: NVLM's 1-D tile tags,
here a learned vector in front of each tile's states).
Papers: CLIP, arXiv 2103.00020; SigLIP, 2303.15343; SigLIP 2, 2502.14786; DINOv2, 2304.07193; MAE,
2111.06377; joined layers, Llama 3, 2407.21783; tags, NVLM, 2409.11402.
"""

import copy
import dataclasses
import functools

import torch
from torch import nn

from features.patches import FREE
from speechllm.config import suggest
from speechllm.models.encoders import _pretrained, _vision, _vit
from speechllm.models.hub import newer, read_config
from speechllm.models.masks import zero_beyond
from speechllm.ranges import Size

# Small enough for tests: (width of the front end, settings) of each case.
CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 2,
}
TILE = {**CONFIG, "image_size": 8}
FIXED = {**TILE, "intermediate_size": 48}
TINY = (
    (15, {"family": "clip", "config": {**FIXED, "hidden_size": 16}, "layers": [-2, -1]}),
    (15, {"family": "siglip", "config": FIXED, "tags": 2}),
    (15, {"family": "siglip2", "config": {**CONFIG, "intermediate_size": 48, "num_patches": 16}}),
    (15, {"family": "vit", "config": FIXED, "token": "keep"}),
    (15, {"family": "dinov2", "config": {**TILE, "mlp_ratio": 2}, "size": 6}),
    (15, {"family": "mae", "config": FIXED}),
    (15, {"family": "blip2", "config": {**FIXED, "initializer_range": 0.1}, "token": "keep"}),
    (15, {"family": "internvl", "config": FIXED}),
)
TOKENS = ("drop", "keep")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which checkpoint, and what is taken from it.

    pretrained: Hub id or folder, of the encoder or of a model that holds it. family: clip, siglip,
    siglip2, vit, dinov2, mae, blip2 or internvl. config: fields of its configuration that differ.
    layers: whose states are joined, as transformers numbers hidden states (0 the embeddings, -1 the
    last layer's before the final norm); empty: the last, after the norm where the family has one.
    token: whether the class token's state stays in front of its tile's, "drop" or "keep".
    tags: vectors that say which tile follows, 0: none.
    size: side of a tile in pixels, where it is not the checkpoint's: what it has learned of places
    is interpolated, as DINOv2 does. whole: layers and heads that no state comes
    from are kept, for an import that shall go out as it came.
    """

    pretrained: str = ""
    family: str = "clip"
    config: dict = dataclasses.field(default_factory=dict)
    layers: tuple[int, ...] = ()
    token: str = "drop"
    tags: Size = 0
    size: Size = 0
    whole: bool = False

    def __post_init__(self):
        """Refuse words that mean nothing."""
        if self.family not in _vit.FAMILIES:
            raise ValueError(f"family: no {self.family!r}; {suggest(self.family, _vit.FAMILIES)}")
        if self.token not in TOKENS:
            raise ValueError(f"token: wanted 'drop' or 'keep', got {self.token!r}")
        if self.size and (self.family == "siglip2" or self.size % self.patch):
            raise ValueError(
                f"size: wanted tiles of whole patches of {self.patch}, got {self.size}"
            )
        if self.token == "keep" and not self.parts.front:
            raise ValueError(f"token = 'keep', but {self.family} has no class token")

    @property
    def parts(self) -> _vit.Family:
        """What is where in it."""
        return _vit.FAMILIES[self.family]

    @functools.cached_property
    def hf(self):
        """The configuration as transformers knows it."""
        config_class = newer(f"{self.parts.name}Config")
        return read_config(config_class, self.pretrained, self.config, self.parts.inside)

    @property
    def depth(self) -> int:
        """Layers of the checkpoint."""
        return self.hf.num_hidden_layers

    @property
    def channels(self) -> int:
        """Colours of a pixel; BLIP-2's does not say so."""
        return getattr(self.hf, "num_channels", 3)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return _vit.one(self.hf.patch_size)

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.hf.hidden_size * max(len(self.layers), 1)

    @property
    def per_tile(self) -> int:
        """Patches of a whole tile; 0: a picture of any shape is one."""
        if self.family == "siglip2":
            return 0
        return (self.tile // self.patch) ** 2

    @property
    def tile(self) -> int:
        """Side of a tile in pixels."""
        return self.size or _vit.one(self.hf.image_size)

    @property
    def extra(self) -> int:
        """States of a tile besides those of its patches."""
        return (self.token == "keep") + (self.tags > 0)

    @property
    def placed(self) -> bool:
        """Whether each state stands for a patch."""
        return not self.extra

    def count(self, n):
        """Give the number of states L for n patches; n may be a tensor of lengths."""
        tiles = -(-n // self.per_tile) if self.per_tile else (0 < n) * 1
        return n + tiles * self.extra

    def check(self, front) -> None:
        """Refuse a front end of other tiles.

        Raises:
            ValueError: its patches or tiles have another size.
        """
        tile = getattr(front, "side", 0) ** 2
        free = getattr(front, "fit", "") in FREE
        if self.per_tile and (free or tile != self.per_tile):
            size, patch = self.tile, self.patch
            raise ValueError(
                f"vit: this {self.family} wants tiles of {size} pixels in patches of {patch}: set "
                f"the front end's size = {size}, patch = {patch} and a fit that gives tiles"
            )

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: other patches or layers than the checkpoint has, or no such checkpoint.
        """
        for number in self.layers:
            if not -self.depth - 1 <= number <= self.depth:
                raise ValueError(f"layers: wanted -{self.depth + 1} to {self.depth}, got {number}")
        _vision.pixels(in_dim, self.channels, self.patch, f"vit ({self.family})")
        return ViT(self, copy.deepcopy(self.hf))


class ViT(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, hf):
        super().__init__()
        self.config, parts = config, config.parts
        model_class = newer(f"{parts.name}Model")
        self.model = _pretrained.made(model_class, config.pretrained, hf, _vit.LEFT_OVER)
        if config.size:
            _vit.stretch(self.model, parts, config.size // config.patch)
        self.wanted = [n % (config.depth + 1) for n in config.layers] or [config.depth]
        if not config.whole:
            parts.trim(self.model, max(self.wanted))
            if config.layers and parts.after:
                setattr(self.model, parts.after, None)
        self.tags = nn.Parameter(torch.randn(config.tags, config.dim)) if config.tags else None

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        x = zero_beyond(x, lengths)
        per_tile = self.config.per_tile or max(x.shape[1], 1)
        tiles, inside, used = _vision.tiled(x, lengths, per_tile)
        pixels, places = _vision.split(tiles)
        states = self._run(pixels, places, inside)
        if self.tags is not None:
            tag = self.tags[places[:, 0, 0].clamp(0, len(self.tags) - 1)].to(states.dtype)
            states = torch.cat([tag[:, None], states], 1)
        steps = self.config.count(lengths)
        return _vision.joined(states, used)[:, : max(int(steps.max()), 1)], steps

    def places(self, x, lengths):
        """Say where the state of each patch stands: tile, row, column, (B, T, 3)."""
        return _vision.split(zero_beyond(x, lengths))[1]

    def seen(self, x, kept):
        """Encode of whole tiles x (N, P, F) the patches `kept` (N, K) alone: (N, 1 + K, D).

        The class token's state stands first; masked autoencoding asks for this.
        """
        x, front = self._embedded(*_vision.split(x))
        index = kept[..., None].expand(-1, -1, x.shape[-1])
        return self._layers(torch.cat([x[:, :front], x[:, front:].gather(1, index)], 1), None)

    def _run(self, pixels, places, inside):
        """Encode tiles of pixels (N, P, C P P), `inside` (N,) of each valid: (N, K, D)."""
        x, front = self._embedded(pixels, places)
        x = self._layers(x, _vit.mask(inside, x.shape[1], front))
        return x if self.config.token == "keep" else x[:, front:]

    def _embedded(self, pixels, places):
        """Vectors of patches with their positions, class token in front; how many those are."""
        patch, config = self.config.parts.get(self.model, "patch"), self.config
        x = _vit.embed(patch, pixels, config.channels, config.patch)
        return _vit.placed(config.parts, self.model, x, None if config.per_tile else places)

    def _layers(self, x, mask):
        """Run the layers over x (N, K, D), and join what is asked for."""
        parts, model = self.config.parts, self.model
        if before := parts.get(model, "before"):
            x = before(x)
        hidden = [x]
        for layer in parts.get(model, "layers")[: max(self.wanted)]:
            x = layer(x, mask) if parts.masks else layer(x)
            x = x[0] if isinstance(x, tuple) else x
            hidden.append(x)
        if self.config.layers:
            return torch.cat([hidden[n] for n in self.wanted], -1)
        after = parts.get(model, "after")
        return after(x) if after else x
