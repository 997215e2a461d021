"""Language modelling: cross entropy of the answer, token by token, given all before it."""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch
from speechllm.models.model import Pass, SpeechLLM
from speechllm.ranges import BelowOne, NotNegative


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and label smoothing (0 to 1)."""

    weight: NotNegative = 1.0
    label_smoothing: BelowOne = 0.0

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
        loss, _ = result.answer_loss(self.label_smoothing if self.training else 0.0)
        return loss, torch.tensor(result.n_answers, device=loss.device)

    def count(self, batch: Batch) -> int:
        """Number of answer tokens in a batch, known before any pass."""
        return int(batch.wanted[: batch.n_chosen].sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of answer tokens that are the most probable, as (sum, count)."""
        return {"accuracy": (result.answer_loss()[1], torch.tensor(result.n_answers))}
