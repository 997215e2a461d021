"""Does the LLM listen? The loss on real, shuffled and silent audio, and the norm of soft tokens.

A speech LLM may reach a low loss without hearing anything: from its prior over transcripts. Then it
does as well with somebody else's audio, or with none. Soft tokens much longer than text embeddings
drown the instruction.
"""

from dataclasses import dataclass, replace

import torch

from speechllm.data.batch import Batch, Media
from speechllm.models.llm import text_embeddings


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


def shuffled(batch: Batch) -> Batch:
    """Give each medium the content of the next of its kind, repeated or cut to its own length."""
    return replace(batch, media={kind: _rolled(one) for kind, one in batch.media.items()})


def _rolled(media: Media) -> Media:
    order = torch.roll(torch.arange(len(media.x)), 1)
    x = torch.zeros_like(media.x)
    for i, j in enumerate(order.tolist()):
        wanted, there = int(media.lengths[i]), int(media.lengths[j])
        repeats = -(-wanted // there)
        other = torch.cat([media.x[j, :there]] * repeats)
        x[i, :wanted] = other[:wanted]
    return media._replace(x=x)


def silent(batch: Batch, nothing: dict[str, torch.Tensor]) -> Batch:
    """Replace every frame by one of `nothing`: by medium a frame (F,), or a sample."""
    media = {
        kind: one._replace(x=nothing[kind].to(one.x.device).expand_as(one.x).contiguous())
        for kind, one in batch.media.items()
    }
    return replace(batch, media=media)


@torch.no_grad()
def norms(result) -> tuple[float, float]:
    """Return the mean norms of the soft tokens and of the LLM's text embeddings."""
    tokens, lengths = result.tokens
    valid = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    text = text_embeddings(result.model.llm)
    return tokens[valid].float().norm(dim=-1).mean().item(), text.norm(dim=-1).mean().item()
