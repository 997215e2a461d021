"""MaskGIT's training: some of a picture's discrete tokens are hidden, and are to be found.

How many is drawn anew for each picture, as the cosine schedule has it: the writing begins with all
of them hidden. What the picture is called, the row's answer, stands in front, but for a share of
the pictures, so that the network can also be asked about anything (classifier-free guidance). The
encoder, `titok`, stays as it is. Papers: MaskGIT, Chang et al., arXiv 2202.04200; guidance, Ho and
Salimans, arXiv 2207.12598.
"""

import dataclasses
import math

import torch
from torch import nn

from speechllm.data.batch import Batch, Kind
from speechllm.models.heads import maskgit as heads
from speechllm.models.heads import own
from speechllm.models.heads.titok import encoder_of
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives.titok import tiles_of
from speechllm.ranges import BelowOne, NotNegative


@dataclasses.dataclass(frozen=True)
class Config(heads.Config):
    """Weight in the phase's sum, and the network.

    free: share of the pictures whose name is hidden. label_smoothing: in training.
    """

    weight: NotNegative = 1.0
    free: BelowOne = 0.1
    label_smoothing: BelowOne = 0.1

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective, with a network that the model may take.

        Raises:
            ValueError: no such medium, or another encoder than `titok`.
        """
        head = own(heads.Config, self).build(model)
        return Hiding(self, head, encoder_of(model, self.medium).config.per_tile)


class Hiding(nn.Module):
    """Sum over tiles of the cross entropy, a mean over hidden tokens, and their number."""

    def __init__(self, config: Config, head: heads.Writer, per_tile: int):
        super().__init__()
        self.config, self.per_tile = config, per_tile
        self.heads = {"maskgit": head}  # borrowed: the model takes it, and saves it

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a picture, two zeros."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        errors, _, hidden = self.found(result)
        loss = ((errors * hidden).sum(1) / hidden.sum(1)).sum()
        return loss, torch.tensor(count, device=loss.device)

    def found(self, result: Pass):
        """Errors (N, K), whether the best guess is right (N, K), and what is hidden (N, K)."""
        head, tiles = self.heads["maskgit"], tiles_of(result, self.config.medium)
        encoder = encoder_of(result.model, self.config.medium)
        with torch.no_grad():
            whole = torch.full((len(tiles),), self.per_tile, device=tiles.device)
            codes = encoder.quantised(tiles, whole)[1]
        wanted = self.wanted(result)
        hidden, free = self.drawn(codes)
        logits = head(codes.masked_fill(hidden, head.hidden), wanted, free).float()
        smoothing = self.config.label_smoothing if self.training else 0.0
        errors = nn.functional.cross_entropy(
            logits.flatten(0, 1), codes.flatten(), reduction="none", label_smoothing=smoothing
        )
        return errors.view_as(codes), logits.argmax(-1) == codes, hidden

    def wanted(self, result: Pass) -> torch.Tensor:
        """What each whole tile's picture is called, (N, H)."""
        batch = result.batch
        places = batch.slots[batch.which(self.config.medium), :2]
        tiles = batch.media[self.config.medium].lengths // self.per_tile
        row, start = places.repeat_interleave(tiles, 0).unbind(1)
        # of packed examples: the answer that stands in the same segment of the row
        own = batch.segments[row] == batch.segments[row, start, None]
        answers = own & (batch.kinds == Kind.ANSWER)[row]
        return heads.named(result.model, batch.ids[row], answers)

    def drawn(self, codes):
        """Draw what is hidden, (N, K), and whose name is, (N,); in evaluation always the same."""
        fixed = None if self.training else torch.Generator(codes.device).manual_seed(0)
        shares = torch.rand(len(codes), 1, generator=fixed, device=codes.device)
        count = (codes.shape[1] * torch.cos(shares * math.pi / 2)).ceil().clamp(min=1)
        noise = torch.rand(codes.shape, generator=fixed, device=codes.device)
        free = torch.rand(len(codes), generator=fixed, device=codes.device) < self.config.free
        return noise.argsort(1).argsort(1) < count, free & self.training

    def count(self, batch: Batch) -> int:
        """Number of whole tiles in a batch, known before any pass."""
        if self.config.medium not in batch.media:
            return 0
        return int((batch.media[self.config.medium].lengths // self.per_tile).sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of the hidden tokens whose best guess is right."""
        if not self.count(result.batch):
            return {}
        _, right, hidden = self.found(result)
        return {"accuracy": ((right & hidden).sum(), hidden.sum())}
