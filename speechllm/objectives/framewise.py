"""Framewise classification: what each state is called, one token of the answer after the other.

The answer has as many tokens as there are states (or soft tokens, of the head in the adapter): of a
picture of three by three cells, nine words, cell by cell. Where it is known what stands where, this
says more than one name for the whole (`classification`), and needs no alignment as `ctc` does.
Framewise training: Graves and Schmidhuber, Neural Networks 18 (2005), 602-610.
"""

from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch, Kind
from speechllm.models.masks import valid_mask
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import branch
from speechllm.ranges import BelowOne, NotNegative


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and what the loss is on.

    on: "encoder", with a head over its states, or "posterior", the head inside the adapter.
    label_smoothing: share of the target that goes to all tokens alike. medium: which is named.
    """

    weight: NotNegative = 1.0
    medium: str = "audio"
    on: str = "encoder"
    label_smoothing: BelowOne = 0.0

    def __post_init__(self):
        if self.on not in ("encoder", "posterior"):
            raise ValueError(f"on: wanted 'encoder' or 'posterior', got {self.on!r}")

    def named(self, system, n: int) -> int:
        """How many states n frames of the medium have in a system: tokens that an answer has."""
        if self.on == "posterior":
            return system.branches[self.medium].count(n)
        return system.states(n, self.medium)

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its head.

        Raises:
            ValueError: on = "posterior" with an adapter that has no such head; no such medium.
        """
        own = branch(model, self.medium)
        if self.on == "posterior" and not hasattr(own.adapter, "token_logits"):
            raise ValueError('framewise on = "posterior" wants the adapter name_posterior')
        return Framewise(self, own.encoder_dim, model.vocab_size)


class Framewise(nn.Module):
    """Sum of the cross entropy (nats) over states, and their number."""

    def __init__(self, config: Config, width: int, vocab_size: int):
        super().__init__()
        self.config = config
        self.head = nn.Linear(width, vocab_size) if config.on == "encoder" else None

    def logits(self, result: Pass) -> torch.Tensor:
        """Logits (S, V) of all states of all media, one after the other.

        Raises:
            ValueError: a medium has another number of states than its answer has tokens.
        """
        states, lengths = result.states_of(self.config.medium)
        if self.head is None:
            adapter = result.model.branches[self.config.medium].adapter
            logits, lengths = adapter.token_logits(states, lengths)
        else:
            logits = self.head(states)
        batch, sizes = result.batch, [len(one) for one in self.targets(result.batch)]
        rows = batch.slots[batch.which(self.config.medium), 0].tolist()
        for row, size, length in zip(rows, sizes, lengths.tolist(), strict=True):
            if size != length:
                name = "a packed row" if batch.packed else batch.names[row]
                raise ValueError(
                    f"{name}: framewise wants a token of the answer for each of its "
                    f"{length} states, got {size}"
                )
        return logits[valid_mask(lengths, logits.shape[1])]

    def targets(self, batch: Batch) -> list[torch.Tensor]:
        """Answer ids of each medium's example, without the close."""
        if self.config.medium not in batch.media:
            return []
        answers = batch.kinds == Kind.ANSWER
        # of packed examples: the answer that stands in the same segment of the row
        return [
            batch.ids[row][answers[row] & (batch.segments[row] == batch.segments[row, start])]
            for row, start in batch.slots[batch.which(self.config.medium), :2].tolist()
        ]

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); of text alone, two zeros."""
        if not (targets := self.targets(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        targets = torch.cat(targets)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = nn.functional.cross_entropy(
            self.logits(result).float(), targets, reduction="sum", label_smoothing=smoothing
        )
        return loss, torch.tensor(len(targets), device=loss.device)

    def count(self, batch: Batch) -> int:
        """Number of states in a batch, known before any pass."""
        return sum(map(len, self.targets(batch)))

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of states whose most probable token is the answer's, as (sum, count)."""
        if not (targets := self.targets(result.batch)):
            return {}
        targets = torch.cat(targets)
        right = self.logits(result).argmax(-1) == targets
        return {"accuracy": (right.sum(), torch.tensor(len(right)))}
