"""Does the LLM listen? The loss on real, shuffled and silent audio, and the norm of soft tokens.

A speech LLM may reach a low loss without hearing anything: from its prior over transcripts. Then it
does as well with somebody else's audio, or with none. Soft tokens much longer than text embeddings
drown the instruction.
"""

from dataclasses import dataclass

import torch

from speechllm.data.batch import Batch
from speechllm.models.grouping import encode
from speechllm.models.llm import text_embeddings
from speechllm.models.model import Pass


@dataclass(frozen=True)
class Health:
    """Losses (nats a token) on real, shuffled and silent audio; mean norms of tokens."""

    real: float
    shuffled: float
    silent: float
    soft_norm: float
    text_norm: float

    def advice(self) -> str:
        """Return one line where something is wrong, else nothing."""
        if min(self.shuffled, self.silent) < self.real * 1.02 + 1e-3:
            return (
                "the LLM is not listening yet: loss on real audio "
                f"{self.real:.3f}, on shuffled {self.shuffled:.3f}, on silence {self.silent:.3f}"
            )
        ratio = self.soft_norm / max(self.text_norm, 1e-9)
        if ratio > 10:
            return (
                f"soft tokens are {ratio:.0f} times as long as text embeddings and may drown them"
            )
        return ""


def listens(batch: Batch) -> bool:
    """Say whether some medium has another of its kind to change places with."""
    return any(len(media.lengths) > 1 for media in batch.media.values())


def shuffled(result: Pass) -> Pass:
    """Give each medium the states of the next of its kind, repeated or cut to its own length.

    They are those of a pass: nothing is encoded again.
    """
    found = {}
    for kind in result.batch.media:
        states, lengths = result.states_of(kind)
        there = [one[:n] for one, n in zip(states, lengths.tolist(), strict=True)]
        found[kind] = _fitted(states, lengths, there[-1:] + there[:-1])
    return result.instead(found)


def silent(result: Pass, quiet: dict[str, torch.Tensor]) -> Pass:
    """Give each medium the states (L, D) of nothing heard, by medium, in place of its own."""
    found = {}
    for kind in result.batch.media:
        states, lengths = result.states_of(kind)
        found[kind] = _fitted(states, lengths, [quiet[kind]] * len(states))
    return result.instead(found)


def encoded(model, silence: dict[str, tuple]) -> dict[str, torch.Tensor]:
    """Give the states (L, D) of nothing heard, by medium, of its frames (T, F) and their number."""
    device, found = next(model.parameters()).device, {}
    for kind, (x, n) in silence.items():
        states, lengths = encode(
            model.branches[kind].encoder, x[None].to(device), torch.tensor([n], device=device)
        )
        found[kind] = states[0, : lengths[0]]
    return found


def _fitted(states, lengths, others: list[torch.Tensor]) -> torch.Tensor:
    """Lay others' states into states (M, L, D), repeated or cut to lengths (M,); zeros beyond."""
    x = torch.zeros_like(states)
    for row, other, wanted in zip(x, others, lengths.tolist(), strict=True):
        row[:wanted] = other.repeat(-(-wanted // len(other)), 1)[:wanted]
    return x


@torch.no_grad()
def norms(result) -> tuple[float, float]:
    """Return the mean norms of the soft tokens and of the LLM's text embeddings."""
    tokens, lengths = result.tokens
    valid = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    text = text_embeddings(result.model.llm)
    return tokens[valid].float().norm(dim=-1).mean().item(), text.norm(dim=-1).mean().item()
