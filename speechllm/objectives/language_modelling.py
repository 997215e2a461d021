"""Language modelling: cross entropy of the answer, token by token, given all before it."""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import IGNORE, Batch
from speechllm.models.model import Pass, SpeechLLM


@dataclass(frozen=True)
class Config:
    """Weight in the stage's sum, and label smoothing (0 to 1)."""

    weight: float = 1.0
    label_smoothing: float = 0.0

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective; it has no parameters of its own."""
        return LanguageModelling(self.label_smoothing)


class LanguageModelling(nn.Module):
    """Sum of the negative log-likelihood (nats) over answer tokens, and their number."""

    def __init__(self, label_smoothing: float):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count)."""
        logits, targets = result.logits.float().flatten(0, 1), result.targets.flatten()
        smoothing = self.label_smoothing if self.training else 0.0
        loss = nn.functional.cross_entropy(
            logits, targets, ignore_index=IGNORE, reduction="sum", label_smoothing=smoothing
        )
        return loss, (targets != IGNORE).sum()

    def count(self, batch: Batch) -> int:
        """Number of answer tokens in a batch, known before any pass."""
        return int((batch.labels[:, 1:] != IGNORE).sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of answer tokens that are the most probable, as (sum, count)."""
        wanted = result.targets != IGNORE
        right = (result.logits.argmax(-1) == result.targets) & wanted
        return {"accuracy": (right.sum(), wanted.sum())}
