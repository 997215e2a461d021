"""Distillation: the LLM answers to audio as it answers, untouched, to the words that were said.

The teacher is the same LLM without LoRA, reading what was said in place of the media (`Batch.words`
holds those rows); the loss is KL(teacher || student) over the vocabulary at each position of the
answer, both softened by a temperature. It keeps the LLM's text ability, since nothing but its own
answers is learned. As in Ultravox (v0.4 and later), T = 2 and no factor T ** 2.
Knowledge distillation: arXiv 1503.02531.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from speechllm.data.batch import Batch
from speechllm.models.model import Pass, SpeechLLM
from speechllm.ranges import AboveZero, NotNegative


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and the temperature of both distributions."""

    weight: NotNegative = 1.0
    temperature: AboveZero = 2.0

    needs = ("words",)

    def __post_init__(self):
        if self.temperature <= 0:
            raise ValueError(f"temperature: wanted a number above 0, got {self.temperature}")

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective; it has no parameters of its own."""
        return Distillation(self.temperature)


class Distillation(nn.Module):
    """Sum of the KL divergence (nats) over answer tokens, and their number."""

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature

    def teacher(self, result: Pass) -> torch.Tensor:
        """Logits (N, V) of the LLM that reads, at the positions that `result.answer_logits` has."""
        model, targets = result.model, result.answer_logits[1]
        with model.untouched():
            reading = model(result.batch.words)
            assert torch.equal(reading.targets, targets), "the teacher reads another answer"
            return reading.logits

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count)."""
        wanted = (self.teacher(result).float() / self.temperature).log_softmax(-1)
        logs = (result.answer_logits[0].float() / self.temperature).log_softmax(-1)
        loss = F.kl_div(logs, wanted, reduction="sum", log_target=True)
        return loss, torch.tensor(len(logs), device=loss.device)

    def count(self, batch: Batch) -> int:
        """Number of answer tokens in a batch, known before any pass."""
        return int(batch.wanted[: batch.n_chosen].sum())

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of answer tokens that reader and listener agree on, as (sum, count)."""
        same = self.teacher(result).argmax(-1) == result.answer_logits[0].argmax(-1)
        return {"agreement": (same.sum(), torch.tensor(len(same)))}
