"""Contrastive learning: a medium beside the words about it, or beside another medium.

Each side becomes one vector of length 1: the mean of the encoder's states, or the LLM's last state
of the answer's tokens alone, through a Linear of its own. `loss = "clip"` asks, of each, which of
the batch belongs to it, both ways (InfoNCE; CLIP, arXiv 2103.00020); "siglip" asks of every pair
whether it belongs together (arXiv 2303.15343). With pairs of several media, one phase after the
other, all come into one space through the one they share (ImageBind, arXiv 2305.05665).

What counts is a pair: an example that has both sides, its first medium of the kind. Rows are not
packed, for others of the row would be neither its own nor another's.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from speechllm.data.batch import Batch, Kind
from speechllm.data.rows import MEDIA
from speechllm.models.masks import zero_beyond
from speechllm.models.model import Pass, SpeechLLM
from speechllm.objectives._branch import branch
from speechllm.ranges import AboveZero, NotNegative, Width

WORDS = "text"
HOTTEST = 100.0  # CLIP's bound of 1 / temperature


@dataclass(frozen=True)
class Config:
    """Weight in the phase's sum, and what is held against what.

    between: two of "text" (the answer) and the media. loss: "clip" or "siglip". dim: width of the
    common space. temperature: where it starts; it is learned. bias: where SigLIP's starts.
    """

    weight: NotNegative = 1.0
    between: tuple[str, ...] = ("image", WORDS)
    loss: str = "clip"
    dim: Width = 128
    temperature: AboveZero = 0.07
    bias: float = -10.0

    def __post_init__(self):
        """Refuse what cannot be compared."""
        known = (WORDS, *MEDIA)
        if len(self.between) != 2 or len(set(self.between)) != 2 or set(self.between) - {*known}:
            raise ValueError(f"between: wanted two of {', '.join(known)}, got {list(self.between)}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss: wanted 'clip' or 'siglip', got {self.loss!r}")
        if not -1000 <= self.bias <= 1000:
            raise ValueError(f"bias: wanted -1000 to 1000, got {self.bias}")

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective with its projections.

        Raises:
            ValueError: the model has no such medium.
        """
        widths = (
            model.width if side == WORDS else branch(model, side, "between").encoder_dim
            for side in self.between
        )
        return Contrastive(self, list(widths))


def clip_loss(logits: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy (M,) of logits (M, M), those who belong together on the diagonal."""
    own = torch.arange(len(logits), device=logits.device)
    cross_entropy = nn.functional.cross_entropy
    ways = (cross_entropy(each, own, reduction="none") for each in (logits, logits.T))
    return sum(ways) / 2


def siglip_loss(logits: torch.Tensor) -> torch.Tensor:
    """Sigmoid loss (M,) of logits (M, M): each row's over all pairs it is in."""
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -nn.functional.logsigmoid(signs * logits).sum(1)


LOSSES = {"clip": clip_loss, "siglip": siglip_loss}


class Contrastive(nn.Module):
    """Sum of the loss over pairs, and their number."""

    def __init__(self, config: Config, widths: list[int]):
        super().__init__()
        self.config = config
        linears = (nn.Linear(width, config.dim, bias=False) for width in widths)
        self.projections = nn.ModuleList(linears)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))
        self.bias = nn.Parameter(torch.tensor(config.bias)) if config.loss == "siglip" else None

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); without a pair, two zeros."""
        if not (count := self.count(result.batch)):
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        loss = LOSSES[self.config.loss](self.logits(result)).sum()
        return loss, torch.tensor(count, device=loss.device)

    def logits(self, result: Pass) -> torch.Tensor:
        """How well each goes with each, (M, M): cosines over the temperature."""
        rows = self.rows(result.batch)
        first, second = (
            nn.functional.normalize(head(self._side(side, result, rows)).float(), dim=-1)
            for side, head in zip(self.config.between, self.projections, strict=True)
        )
        logits = first @ second.T * self.scale.exp().clamp(max=HOTTEST)
        return logits if self.bias is None else logits + self.bias

    def rows(self, batch: Batch) -> list[int]:
        """Rows that have both sides.

        Raises:
            ValueError: packed rows.
        """
        if batch.packed:
            raise ValueError("contrastive: an example a row is wanted, set [data] pack = 0")
        sides = [self._firsts(side, batch) for side in self.config.between]
        return sorted(sides[0].keys() & sides[1].keys())

    def _firsts(self, side: str, batch: Batch) -> dict[int, int]:
        """Which rows have a side: row -> the number of its first medium among its kind."""
        n = batch.n_chosen
        if side == WORDS:
            said = (batch.kinds[:n] == Kind.ANSWER).any(1).nonzero().flatten().tolist()
            return dict.fromkeys(said, 0)
        here = batch.slots[batch.which(side), 0].tolist() if side in batch.media else []
        return {row: number for number, row in reversed([*enumerate(here)])}

    def _side(self, side: str, result: Pass, rows: list[int]) -> torch.Tensor:
        """Vectors (M, D or H) of one side."""
        if side == WORDS:
            return words(result, rows)
        firsts = self._firsts(side, result.batch)
        states, lengths = result.states_of(side)
        which = torch.tensor([firsts[row] for row in rows], device=states.device)
        states, lengths = states[which], lengths[which]
        return zero_beyond(states, lengths).sum(1) / lengths[:, None]

    def count(self, batch: Batch) -> int:
        """Number of pairs in a batch, known before any pass."""
        return len(self.rows(batch))

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Share of those that find their own, or one with the same answer, both ways.

        Against words also `zero_shot`: how many media are nearest to their own of the different
        answers in the batch, as CLIP classifies by names that it was never given as classes.
        """
        if not (rows := self.rows(result.batch)):
            return {}
        logits, texts = self.logits(result).cpu(), [result.batch.texts[row] for row in rows]
        ways = (each.argmax(1).tolist() for each in (logits, logits.T))
        right = sum(texts[i] == texts[j] for best in ways for i, j in enumerate(best))
        found = {"retrieval": (torch.tensor(right), torch.tensor(2 * len(rows)))}
        if WORDS in self.config.between:
            media = logits if self.config.between[1] == WORDS else logits.T
            first = {text: place for place, text in reversed([*enumerate(texts)])}
            names = [*first]
            best = media[:, [*first.values()]].argmax(1).tolist()
            right = sum(names[j] == text for j, text in zip(best, texts, strict=True))
            found["zero_shot"] = torch.tensor(right), torch.tensor(len(rows))
        return found


def words(result: Pass, rows: list[int]) -> torch.Tensor:
    """The LLM's last state of each row's answer, read alone: (M, H)."""
    batch, llm = result.batch, result.model.llm
    answers = [batch.ids[row][batch.kinds[row] == Kind.ANSWER] for row in rows]
    lengths = torch.tensor([len(one) for one in answers], device=batch.ids.device)
    ids = nn.utils.rnn.pad_sequence(answers, batch_first=True)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    out = llm(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False)
    last = out.hidden_states[-1]
    return last[torch.arange(len(ids), device=ids.device), lengths - 1]
