"""Masked autoencoding: most patches are hidden, the encoder sees the rest, a decoder draws them.

The encoder (`vit`, of a family with a class token) runs on the patches that are left alone, a
quarter of them; the decoder, MAE's as transformers has it, gets their states, a learned vector in
the place of each hidden one, and positions. The loss is the squared error of the hidden patches'
pixels, each patch brought to mean 0 and variance 1 where `normalise` says so. Paper: He et al.,
arXiv 2111.06377; nothing but the encoder is used afterwards.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models.encoders import _vision, _vit
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import branch, sees_patches
from speechllm.ranges import BelowOne, Layers, NotNegative, Width


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and the decoder.

    mask: share of the patches that is hidden. dim, layers, heads, ff: of the decoder. normalise:
    pixels patch by patch. medium: which is drawn.
    """

    weight: NotNegative = 1.0
    mask: BelowOne = 0.75
    dim: Width = 512
    layers: Layers = 8
    heads: Width = 16
    ff: Width = 2048
    normalise: bool = False
    medium: str = "image"

    def __post_init__(self):
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"dim: wanted a multiple of 4 and of heads = {self.heads}: {self.dim}")

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its decoder.

        Raises:
            ValueError: no such medium, or an encoder that cannot see patches alone.
        """
        encoder = branch(model, self.medium).encoder
        if not sees_patches(encoder):
            raise ValueError("masked_autoencoding wants the encoder vit, family mae or vit")
        return MaskedAutoencoding(self, encoder.config)


class MaskedAutoencoding(nn.Module):
    """Sum of the squared errors, a mean a patch, and the number of hidden patches."""

    def __init__(self, config: Config, encoder):
        super().__init__()
        self.config, self.patch, self.per_tile = config, encoder.hf.patch_size, encoder.per_tile
        self.kept = max(int(self.per_tile * (1 - config.mask)), 1)
        self.decoder = _vit.decoder(
            encoder, config.dim, layers=config.layers, heads=config.heads, ff=config.ff
        )

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a picture, two zeros."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        loss = self.loss(
            result.model.branches[self.config.medium].encoder, self.tiles(result.batch)
        )
        return loss, torch.tensor(count, device=loss.device)

    def tiles(self, batch: Batch) -> torch.Tensor:
        """The whole tiles of a batch's pictures, (N, P, F)."""
        tiles, inside, _ = _vision.tiled(*batch.media[self.config.medium], self.per_tile)
        return tiles[inside == self.per_tile]

    def loss(self, encoder: nn.Module, tiles, noise=None) -> torch.Tensor:
        """Sum of the errors over the hidden patches of tiles (N, P, F).

        noise: (N, P), the patches with the least of it are left; drawn unless it is given, in
        evaluation always the same.
        """
        if noise is None:
            fixed = None if self.training else torch.Generator(tiles.device).manual_seed(0)
            noise = torch.rand(tiles.shape[:2], generator=fixed, device=tiles.device)
        order = noise.argsort(1)
        back = order.argsort(1)
        states = encoder.seen(tiles, order[:, : self.kept])
        drawn = self.decoder(states, back).logits.float()
        wanted = self.pixels(tiles)
        hidden = back >= self.kept
        return ((drawn - wanted) ** 2).mean(-1)[hidden].sum()

    def pixels(self, tiles) -> torch.Tensor:
        """What is to be drawn, (N, P, P P C), channels last as MAE has them."""
        pixels, _ = _vision.split(tiles)
        pixels = pixels.unflatten(-1, (-1, self.patch, self.patch)).movedim(-3, -1).flatten(-3)
        if not self.config.normalise:
            return pixels
        mean, variance = pixels.mean(-1, keepdim=True), pixels.var(-1, keepdim=True)
        return (pixels - mean) / (variance + 1e-6) ** 0.5

    def count(self, batch: Batch) -> int:
        """Number of hidden patches in a batch, known before any pass."""
        if self.config.medium not in batch.media:
            return 0
        lengths = batch.media[self.config.medium].lengths
        return int((lengths // self.per_tile).sum()) * (self.per_tile - self.kept)

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Nothing besides the loss."""
        return {}
