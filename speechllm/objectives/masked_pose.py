"""Masked prediction of pose: spans of a clip are hidden, the encoder says where the joints were.

Frames in blocks of `span` are hidden, a share of them; a Linear over the states gives back places
of joints, as many frames a state as the encoder's stride has. The error is the smooth L1 of the
joints that were seen, a mean a block, over the hidden blocks alone. What the first frame behind a
block says of its velocity would give the hidden place away, and is hidden, too. Nothing but the
encoder is used afterwards. Masked spans: wav2vec 2.0, arXiv 2006.11477, which Sign2Vec takes to
poses (JSALT workshop 2024, github.com/JSALT2024).
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models.encoders.pose import Pose
from speechllm.models.masks import valid_mask, zero_beyond
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import among, branch
from speechllm.ranges import BelowOne, NotNegative, Width


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum; mask: share of the blocks hidden; span: frames of a block."""

    weight: NotNegative = 1.0
    mask: BelowOne = 0.4
    span: Width = 5
    medium: str = "pose"

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its Linear.

        Raises:
            ValueError: no such medium, or no encoder `pose` in it.
        """
        encoder = among(branch(model, self.medium).encoder, Pose)
        if encoder is None:
            raise ValueError("masked_pose wants the encoder pose, or a stream of it")
        return MaskedPose(self, encoder)


class MaskedPose(nn.Module):
    """Sum of the errors, a mean a block, and the number of hidden blocks."""

    def __init__(self, config: Config, encoder: Pose):
        super().__init__()
        self.config = config
        width = encoder.before[0].in_features
        # five values a joint, with velocities, or three; no choice of parts makes both possible
        self.values = 5 if width % 5 == 0 else 3
        self.joints = width // self.values
        self.stride = encoder.config.stride
        self.head = nn.Linear(encoder.config.dim, self.stride * self.joints * 2)

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a pose, two zeros."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        x, lengths = result.batch.media[self.config.medium]
        encoder = among(result.model.branches[self.config.medium].encoder, Pose)
        loss = self.loss(encoder, x, lengths)
        return loss, torch.tensor(count, device=loss.device)

    def loss(self, encoder: Pose, x, lengths, hidden=None) -> torch.Tensor:
        """Sum of the errors over the hidden blocks of frames x (M, T, F), lengths (M,).

        hidden: (M, T) bool, whole blocks; drawn unless it is given, in evaluation always the same.
        """
        x = zero_beyond(x, lengths)
        hidden = self.drawn(lengths, x.shape[1]) if hidden is None else hidden
        states, _ = encoder(self.without(x, hidden), lengths)
        places = self.head(states).unflatten(-1, (self.stride, self.joints, 2)).flatten(1, 2)
        places = places[:, : x.shape[1]].float()
        seen = x[..., -self.joints :] * hidden[..., None]
        wanted = x[..., : 2 * self.joints].unflatten(-1, (-1, 2))
        errors = nn.functional.smooth_l1_loss(places, wanted, reduction="none").mean(-1)
        errors, weights = (self._blocks(each) for each in (errors * (seen > 0), (seen > 0).float()))
        return (errors / weights.clamp(min=1)).sum()

    def without(self, x, hidden):
        """Hide frames (M, T): as if no joint were seen; velocities behind them, too."""
        x = x.masked_fill(hidden[..., None], 0.0)
        if self.values == 5:
            behind = nn.functional.pad(hidden[:, :-1], (1, 0))[..., None]
            moved = slice(2 * self.joints, 4 * self.joints)
            x[..., moved] = x[..., moved].masked_fill(behind, 0.0)
        return x

    def drawn(self, lengths, size: int):
        """Draw which frames (M, size) are hidden: of each clip as many blocks as `_hidden` says."""
        fixed = None if self.training else torch.Generator(lengths.device).manual_seed(0)
        blocks = -(-size // self.config.span)
        noise = torch.rand(len(lengths), blocks, generator=fixed, device=lengths.device)
        there = valid_mask(-(-lengths // self.config.span), blocks)
        order = noise.masked_fill(~there, 2.0).argsort(1).argsort(1)
        chosen = order < self._hidden(lengths)[:, None]
        return chosen.repeat_interleave(self.config.span, 1)[:, :size]

    def _hidden(self, lengths):
        """Number of hidden blocks of each clip, (M,)."""
        blocks = -(-lengths // self.config.span)
        return (blocks * self.config.mask).round().long().clamp(min=1) * (lengths > 0)

    def _blocks(self, values):
        """Sum values (M, T, J) over each block: (M, blocks)."""
        span = self.config.span
        values = nn.functional.pad(values.sum(-1), (0, -values.shape[1] % span))
        return values.unflatten(1, (-1, span)).sum(2)

    def count(self, batch: Batch) -> int:
        """Number of hidden blocks in a batch, known before any pass."""
        if self.config.medium not in batch.media:
            return 0
        return int(self._hidden(batch.media[self.config.medium].lengths).sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Nothing besides the loss."""
        return {}
