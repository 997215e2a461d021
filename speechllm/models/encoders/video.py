"""Video: each frame through an encoder of pictures, then `merge` frames become `latents` states.

With latents = 0 nothing is merged: a frame is its first state, of a ViT the class token's.

A Perceiver (Flamingo's, as Idefics2 has it) reads the states of up to `merge` neighbouring frames,
each with a learned vector for its place among them, as Llama 3's aggregator of 32 frames to one.

    [branch.video.encoder]
    name = "video"
    frame = { name = "vit", family = "siglip", pretrained = "google/siglip-base-patch16-224" }
    per_frame = 196

Where the encoder of frames has other patches than the front end cuts (`patch`), frames are put
together and cut anew.

Shapes: x (B, T, F), frames of `per_frame` patches each -> (B, L, D), `latents` a group of
`merge` frames. Papers: Llama 3, arXiv 2407.21783; Flamingo, arXiv 2204.14198.
"""

import dataclasses
import functools

import torch
from torch import nn

from speechllm import config as settings
from speechllm.models import resampler
from speechllm.models.encoders import _vision
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.ranges import Layers, Size, Width

# Small enough for tests: (width of the front end, settings) of each case.
FRAME = {"name": "patches", "dim": 32, "patch": 2}
TINY = (
    (15, {"frame": FRAME, "per_frame": 4, "merge": 3, "latents": 5, "layers": 1, "heads": 4}),
    (15, {"frame": FRAME, "per_frame": 9, "merge": 1, "latents": 2, "layers": 2, "heads": 2}),
    (15, {"frame": {**FRAME, "patch": 3}, "per_frame": 9, "patch": 3, "latents": 0, "merge": 1}),
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The encoder of frames and what follows.

    frame: table of an encoder of pictures. per_frame: patches of a frame. merge: frames that are
    read together. latents: states they become, 0: as many as frames, each its first. layers, heads:
    of the Perceiver. patch: side of a patch of the encoder of frames, 0: as the front end has it.
    """

    frame: dict = dataclasses.field(default_factory=dict)
    per_frame: Width = 196
    merge: Width = 32
    latents: Size = 64
    layers: Layers = 2
    heads: Width = 8
    patch: Size = 0

    def __post_init__(self):
        """Refuse frames that are merged into nothing."""
        if not self.latents and self.merge != 1:
            raise ValueError(f"merge: wanted 1 where latents = 0, got {self.merge}")

    @functools.cached_property
    def encoder(self):
        """The Config of the encoder of frames."""
        return settings.part("models.encoders", self.frame or {"name": "patches"}, "frame")

    @property
    def pretrained(self) -> str:
        """Nothing, where what merges frames is learned here."""
        return "" if self.latents else getattr(self.encoder, "pretrained", "")

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.encoder.dim

    def count(self, n):
        """Give the number of states L for n patches; n may be a tensor of lengths."""
        return -(-n // (self.per_frame * self.merge)) * (self.latents or 1)

    def check(self, front) -> None:
        """Refuse a front end whose frames have another size.

        Raises:
            ValueError: they have.
        """
        if front.per_frame != self.per_frame:
            raise ValueError(
                f"video with per_frame = {self.per_frame}: the front end cuts a frame into "
                f"{front.per_frame} patches"
            )
        if hasattr(self.encoder, "check"):
            picture = front.picture
            if self.patch:
                picture = dataclasses.replace(picture, patch=self.patch)
            self.encoder.check(dataclasses.replace(front, picture=picture))

    def build(self, in_dim: int) -> nn.Module:
        """Make the encoder for rows of `in_dim` values.

        Raises:
            ValueError: the encoder of frames wants another front end; heads that do not fit it.
        """
        if self.latents and self.encoder.dim % self.heads:
            raise ValueError(f"heads: wanted a divisor of {self.encoder.dim}, got {self.heads}")
        if not self.patch:
            return Video(self, self.encoder.build(in_dim), None)
        cut = _vision.Cut.of(in_dim, self.per_frame, self.patch)
        return Video(self, self.encoder.build(cut.dim), cut)


class Video(nn.Module):
    """See the module docstring."""

    def __init__(self, config: Config, frame: nn.Module, cut):
        super().__init__()
        self.config, dim = config, config.dim
        self.frame, self.cut = frame, cut
        if not config.latents:
            return
        self.place = nn.Parameter(torch.randn(config.merge, 1, dim) * 0.02)
        self.resampler = resampler.make(
            dim, config.latents, config.layers, config.heads, config.heads, dim // config.heads
        )

    def forward(self, x, lengths):
        """Map patches x (B, T, F), lengths (B,) to states (B, L, D), lengths (B,)."""
        config = self.config
        frames, inside, used = _vision.tiled(zero_beyond(x, lengths), lengths, config.per_frame)
        if self.cut:
            frames, inside = self.cut(frames, inside)
        states, seen = self.frame(frames, inside)  # (N, S, D), (N,): each frame by itself
        steps = config.count(lengths)
        if not config.latents:
            first = _vision.joined(states[:, :1], used)[:, : max(int(steps.max()), 1)]
            return zero_beyond(first, steps), steps
        size = states.shape[1]
        states = _vision.joined(zero_beyond(states, seen), used).unflatten(1, (-1, size))
        there = torch.zeros(used.shape, dtype=torch.long, device=x.device)
        there[used] = seen
        # frames are filled up to whole groups: (B, frames, S, D) -> (B G, merge S, D)
        fill = -states.shape[1] % config.merge
        states = nn.functional.pad(states, (0, 0, 0, 0, 0, fill)).unflatten(1, (-1, config.merge))
        there = nn.functional.pad(there, (0, fill)).unflatten(1, (-1, config.merge))
        groups = (states + self.place).flatten(0, 1).flatten(1, 2)
        mask = valid_mask(there.flatten(), size).reshape(len(groups), -1)
        # a group of no frame at all sees its first patch: nobody reads what comes of it
        mask[:, 0] |= ~mask.any(1)
        out = self.resampler(groups * mask.unsqueeze(-1), mask.long())
        out = out.reshape(len(x), -1, config.dim)
        return zero_beyond(out[:, : max(int(steps.max()), 1)], steps), steps
