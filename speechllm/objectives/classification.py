"""Classification: what a whole medium is called, in the LLM's own tokens, from encoder states.

The target is the bag of the answer's tokens (a name is mostly one), so that no list of classes has
to be given. With `mixup` two media of a batch are added, and so are their targets (arXiv
1710.09412); features in decibels or logarithms mix well all the same (arXiv 1912.10211). Of an
encoder that does not learn the states are added (arXiv 1806.05236), which may then be stored. The
head belongs to the objective, or it is the adapter's own (`name_posterior`).
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch, Kind
from speechllm.models.masks import zero_beyond
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import branch
from speechllm.ranges import BelowOne, NotNegative


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and what the loss is on.

    on: "encoder", with a head over the mean state, or "posterior", the head inside the adapter.
    mixup: both parameters of the beta distribution that shares are drawn from; 0 mixes nothing.
    label_smoothing: share of the target that goes to all tokens alike. medium: which is named.
    """

    weight: NotNegative = 1.0
    medium: str = "audio"
    on: str = "encoder"
    mixup: NotNegative = 0.0
    label_smoothing: BelowOne = 0.0

    def __post_init__(self):
        if self.on not in ("encoder", "posterior"):
            raise ValueError(f"on: wanted 'encoder' or 'posterior', got {self.on!r}")
        if self.mixup < 0 or not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"wanted mixup of 0 or more and label_smoothing of 0 to 1, got {self.mixup} and "
                f"{self.label_smoothing}"
            )

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its head.

        Raises:
            ValueError: on = "posterior" with an adapter that has no such head; no such medium.
        """
        own = branch(model, self.medium)
        if self.on == "posterior" and not hasattr(own.adapter, "name_logits"):
            raise ValueError('classification on = "posterior" wants the adapter name_posterior')
        return Classification(self, own.encoder_dim, model.vocab_size)


class Classification(nn.Module):
    """Sum of the cross entropy (nats) over media, and their number."""

    def __init__(self, config: Config, width: int, vocab_size: int):
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.head = nn.Linear(width, vocab_size) if config.on == "encoder" else None

    def logits(self, result: Pass, states=None) -> torch.Tensor:
        """Logits (M, V) of each medium; of the pass's own states unless others are given."""
        states, lengths = states or result.states_of(self.config.medium)
        if self.head is None:
            return self._branch(result).adapter.name_logits(states, lengths)
        return self.head(zero_beyond(states, lengths).sum(1) / lengths[:, None])

    def _branch(self, result: Pass):
        return result.model.branches[self.config.medium]

    def targets(self, batch: Batch) -> torch.Tensor:
        """Share of each token in the answer of each medium's row, (M, V), without the close."""
        row, start, _ = batch.slots[batch.which(self.config.medium)].unbind(1)
        own = (
            batch.segments[row] == batch.segments[row, start, None]
        )  # of a packed row, its example
        answers = own & (batch.kinds == Kind.ANSWER)[row]
        bags = torch.zeros(len(row), self.vocab_size, device=row.device)
        bags.scatter_add_(1, batch.ids[row], answers.float())
        return bags / bags.sum(1, keepdim=True).clamp(min=1)

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); of text alone, two zeros."""
        if self.config.medium not in result.batch.media:
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        targets, states = self.targets(result.batch), None
        if self.training and self.config.mixup:
            states, targets = self.mixed(result, targets)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = nn.functional.cross_entropy(
            self.logits(result, states).float(), targets, reduction="sum", label_smoothing=smoothing
        )
        return loss, torch.tensor(len(targets), device=loss.device)

    def mixed(self, result: Pass, targets: torch.Tensor):
        """States of each medium with a share of another one added, and the targets mixed alike."""
        batch, alpha = result.batch, self.config.mixup
        shares = torch.distributions.Beta(alpha, alpha).sample((len(targets),)).to(targets.device)
        other = torch.randperm(len(targets), device=targets.device)
        encoder = self._branch(result).encoder
        learns = any(p.requires_grad for p in encoder.parameters())
        medium = self.config.medium
        x, lengths = batch.media[medium] if learns else result.states_of(medium)
        x = x if learns else zero_beyond(x, lengths)
        weights = shares.reshape(-1, *[1] * (x.dim() - 1))
        x = weights * x + (1 - weights) * x[other]
        lengths = torch.maximum(lengths, lengths[other])
        targets = shares[:, None] * targets + (1 - shares[:, None]) * targets[other]
        return encoder(x, lengths) if learns else (x, lengths), targets

    def count(self, batch: Batch) -> int:
        """Number of media in a batch, known before any pass."""
        return len(batch.which(self.config.medium))

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of media whose most probable token is one of the answer's, as (sum, count)."""
        if self.config.medium not in result.batch.media:
            return {}
        best = self.logits(result).argmax(-1, keepdim=True)
        right = self.targets(result.batch).gather(1, best) > 0
        return {"accuracy": (right.sum(), torch.tensor(len(right)))}
