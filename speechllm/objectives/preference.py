"""Direct preference optimisation: of two answers, the chosen one shall gain on a frozen reference.

-log sigmoid(beta * (gain(chosen) - gain(rejected))), gain = log p - log p_ref, with
log p summed over an answer's tokens, its close included. Paper: arXiv 2305.18290, equation 7;
label_smoothing takes that share of the labels to be wrong (E. Mitchell, "A note on DPO with noisy
preferences").
Rows carry `chosen` and `rejected`; a batch holds both answers to the same media (its `n_answers` is
2). A batch of single answers, of a `plain` source beside the pairs, adds nothing.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from speechllm.data.batch import Batch
from speechllm.models.model import Pass, SpeechLLM
from speechllm.ranges import AboveZero, BelowOne, NotNegative

REFERENCES = ("lora", "copy")


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, strength beta, share of wrong labels, and the reference.

    reference: "lora", the model with its LoRA switched off, where this phase is the first to train
    LoRA and trains nothing else; or "copy", a frozen copy of the model as the phase begins (of
    what does not learn it shares the weights).
    """

    weight: NotNegative = 1.0
    beta: AboveZero = 0.1
    label_smoothing: BelowOne = 0.0
    reference: str = "lora"

    needs = ("pairs",)

    def __post_init__(self):
        if self.reference not in REFERENCES:
            raise ValueError(f"reference: wanted 'lora' or 'copy', got {self.reference!r}")
        if self.beta <= 0 or not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"wanted beta above 0 and label_smoothing from 0 to below 0.5, got {self.beta} "
                f"and {self.label_smoothing}"
            )

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective, and with reference = "copy" the copy.

        Raises:
            ValueError: reference = "lora", but there is none or it has learned already.
        """
        if self.reference == "copy":
            reference = copy.deepcopy(model).requires_grad_(False).eval()
            return Preference(self.beta, self.label_smoothing, reference)
        ups = [p for name, p in model.llm.named_parameters() if "lora_B" in name]
        if not ups or any(bool(p.any()) for p in ups if not p.is_meta):
            raise ValueError(
                'preference reference = "lora" wants a LoRA that no earlier phase trained, got '
                f'{"one that has learned" if ups else "no LoRA"}; set reference = "copy"'
            )
        return Preference(self.beta, self.label_smoothing)


class Preference(nn.Module):
    """Sum of the loss (nats) over pairs of answers, and their number."""

    def __init__(self, beta: float, label_smoothing: float, reference: SpeechLLM | None = None):
        super().__init__()
        self.beta, self.label_smoothing = beta, label_smoothing
        self._reference = [reference]  # in a list: no part of what is trained or saved
        self._ready = False

    @property
    def copies(self) -> bool:
        """Whether what learns is there a second time, as it was."""
        return self._reference[0] is not None

    def margins(self, result: Pass) -> torch.Tensor:
        """How much more the chosen answer has gained on the reference than the rejected (B,)."""
        # rows 0 .. B - 1 end in the chosen answers, B .. 2 B - 1 in the rejected ones (`collate`)
        gained = log_likelihoods(result) - self.reference(result)
        chosen, rejected = gained.chunk(2)
        return self.beta * (chosen - rejected)

    @torch.no_grad()
    def reference(self, result: Pass) -> torch.Tensor:
        """Log-likelihoods (2 B,) under the reference."""
        model, (other,) = result.model, self._reference
        if not self._ready:
            self._prepare(model, other)
        if other is not None:
            return log_likelihoods(other(result.batch))
        with model.untouched():
            return log_likelihoods(result.again())

    def _prepare(self, model: SpeechLLM, other: SpeechLLM | None) -> None:
        """At the first batch it is known what learns: share the rest with the copy.

        Raises:
            ValueError: without a copy, something learns that switching LoRA off does not undo.
        """
        learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if other is not None:
            for name, parameter in other.named_parameters():
                if name not in learns:  # frozen in both: one tensor is enough
                    parameter.data = model.get_parameter(name).data
        elif wrong := [n for n in learns if not (n.startswith("llm.") and "lora_" in n)]:
            raise ValueError(
                f'preference reference = "lora", but {wrong[0]} learns too, and {len(wrong) - 1} '
                'more; train LoRA of the LLM alone, or set reference = "copy"'
            )
        self._ready = True

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); of single answers, two zeros."""
        if result.batch.n_answers == 1:
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        margins = self.margins(result)
        wrong = self.label_smoothing if self.training else 0.0
        loss = -(1 - wrong) * F.logsigmoid(margins) - wrong * F.logsigmoid(-margins)
        return loss.sum(), torch.tensor(len(margins), device=loss.device)

    def count(self, batch: Batch) -> int:
        """Number of pairs in a batch, known before any pass."""
        return len(batch.ids) // 2 if batch.n_answers == 2 else 0

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of pairs in which the chosen answer gained more, and the mean margin."""
        if result.batch.n_answers == 1:
            return {}
        margins = self.margins(result)
        number = torch.tensor(len(margins))
        return {"accuracy": ((margins > 0).sum(), number), "margin": (margins.sum(), number)}


def log_likelihoods(result: Pass) -> torch.Tensor:
    """Log-likelihood (B,) of each row's answer, summed over its tokens."""
    # logits are computed only where something is to be said; `places` has the row of each
    tokens = -F.cross_entropy(result.logits.float(), result.targets, reduction="none")
    return tokens.new_zeros(len(result.layout.ids)).index_add(0, result.places[0], tokens)
