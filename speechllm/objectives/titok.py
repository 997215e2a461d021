"""TiTok's training: few discrete tokens of a picture, and the picture drawn from them again.

The encoder `titok` gives tokens, the head `titok` draws patches of them; the loss is the squared
error of the pixels as the front end normalised them, and the quantiser's own. TiTok's losses of
perception and of an adversary are left out. Paper: Yu et al., arXiv 2406.07550.
"""

import dataclasses

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models.encoders import _vision
from speechllm.models.heads import own
from speechllm.models.heads import titok as heads
from speechllm.models.model import Pass, SpeechLLM
from speechllm.ranges import NotNegative


@dataclasses.dataclass(frozen=True)
class Config(heads.Config):
    """Weight in the phase's sum, and the decoder; commitment: weight of the quantiser's loss."""

    weight: NotNegative = 1.0
    commitment: NotNegative = 1.0

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective, with a decoder that the model may take.

        Raises:
            ValueError: no such medium, or another encoder than `titok`.
        """
        head = own(heads.Config, self).build(model)
        return Drawing(self, head)


class Drawing(nn.Module):
    """Sum over tiles of the error, a mean over pixels, and their number."""

    def __init__(self, config: Config, head: heads.Decoder):
        super().__init__()
        self.config = config
        self.heads = {"titok": head}  # borrowed: the model takes it, and saves it

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a picture, two zeros."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        tiles = tiles_of(result, self.config.medium)
        error, _, own = self.drawn(result, tiles)
        loss = error.sum() + self.config.commitment * count * own
        return loss, torch.tensor(count, device=loss.device)

    def drawn(self, result: Pass, tiles):
        """Errors (N,) of tiles (N, P, F), their codes (N, K), and the quantiser's loss."""
        encoder = heads.encoder_of(result.model, self.config.medium)
        whole = torch.full((len(tiles),), tiles.shape[1], device=tiles.device)
        states, codes, own = encoder.quantised(tiles, whole)
        pixels, _ = _vision.split(tiles)
        return (self.heads["titok"](states) - pixels).float().square().mean((1, 2)), codes, own

    def count(self, batch: Batch) -> int:
        """Number of tiles in a batch, known before any pass."""
        if self.config.medium not in batch.media:
            return 0
        encoder = self.heads["titok"].places
        return int((batch.media[self.config.medium].lengths // len(encoder)).sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """The error alone, and how many codes a batch uses, as a share of the codebook."""
        if not (count := self.count(result.batch)):
            return {}
        error, codes, _ = self.drawn(result, tiles_of(result, self.config.medium))
        encoder = heads.encoder_of(result.model, self.config.medium)
        used = torch.tensor(len(codes.unique())), torch.tensor(encoder.config.codes)
        return {"error": (error.sum(), torch.tensor(count)), "used": used}


def tiles_of(result: Pass, medium: str) -> torch.Tensor:
    """The whole tiles of a batch's pictures, (N, P, F)."""
    size = heads.encoder_of(result.model, medium).config.per_tile
    tiles, inside, _ = _vision.tiled(*result.batch.media[medium], size)
    return tiles[inside == size]
