"""CTC on encoder states or on soft tokens (Graves et al. 2006), over what a head spells with.

The head (`models/heads/ctc.py`) belongs to the model, or is the adapter's own (`ctc_posterior`);
this objective makes it where there is none, and trains it.
"""

import dataclasses

import torch
from rapidfuzz.distance import Levenshtein
from torch import nn

from speechllm.data.batch import Batch, Kind
from speechllm.models.heads import ctc as heads
from speechllm.models.heads import own
from speechllm.models.model import Pass, SpeechLLM
from speechllm.ranges import BelowOne, NotNegative


@dataclasses.dataclass(frozen=True)
class Config(heads.Config):
    """Weight in the phase's sum, and the head: see `heads.ctc.Config` for its settings.

    dropout: of what the head reads, in training; the adapter's own has none.
    """

    weight: NotNegative = 1.0
    dropout: BelowOne = 0.0

    @property
    def head(self) -> heads.Config:
        """The head's Config."""
        return own(heads.Config, self)

    def build(self, model: SpeechLLM) -> nn.Module:
        """Make the objective, with a new head that the model may take.

        Raises:
            ValueError: on = "posterior" with an adapter that has no CTC head.
        """
        counts = getattr(model, "counts", ())[: 2 if self.on == "adapter" else 1]
        return CTC(self.head.build(model), self.dropout, counts)


class CTC(nn.Module):
    """Sum of the negative log-likelihood (nats) over media, and the number of target tokens.

    A target that is longer than its steps (two equal neighbours want a blank between them) has no
    alignment: it adds nothing to the sum and nothing to the count, and is named.

    counts: from frames towards steps, one integer function after the other.
    """

    def __init__(self, head: heads.Head, dropout: float, counts=()):
        super().__init__()
        self.counts = counts
        self.heads = {"ctc": head}  # borrowed: the model takes it, and saves it
        self.blank = head.blank
        self.dropout = nn.Dropout(dropout)

    @property
    def head(self) -> heads.Head:
        """The head that is trained."""
        return self.heads["ctc"]

    def logits(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (M, L, V + 1), blank last, and lengths (M,)."""
        return self.head(result, self.dropout)

    def targets(self, batch: Batch) -> list[torch.Tensor]:
        """Answer ids of each medium's example, without the close; units, of a head with its own."""
        if own := self.head.alphabet:
            spelled = (own.spell(text) for text in self.texts(batch))
            return [torch.tensor(s, dtype=torch.long, device=batch.ids.device) for s in spelled]
        # of packed examples: the answer that stands in the same segment of the row as the sound
        places = batch.slots[batch.which("audio"), :2].tolist()
        answers = batch.kinds == Kind.ANSWER
        return [
            batch.ids[row][answers[row] & (batch.segments[row] == batch.segments[row, start])]
            for row, start in places
        ]

    def texts(self, batch: Batch) -> list[str]:
        """What is answered about each sound."""
        places = batch.slots[batch.which("audio"), :2].tolist()
        return [batch.texts[_number(batch, row, start)] for row, start in places]

    def forward(self, result: Pass) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (sum, count); of text alone, two zeros."""
        if "audio" not in result.batch.media:
            return torch.zeros((), device=result.batch.ids.device), torch.tensor(0)
        logits, lengths = self.logits(result)
        targets = self.targets(result.batch)
        sizes = torch.tensor([len(t) for t in targets])
        loss = nn.functional.ctc_loss(
            logits.float().log_softmax(-1).transpose(0, 1),
            torch.cat(targets),
            lengths.cpu(),
            sizes,
            blank=self.blank,
            reduction="sum",
            zero_infinity=True,  # a target longer than its steps has no alignment: left out below
        )
        kept = [len(t) for t, n in zip(targets, lengths.tolist(), strict=True) if _fits(t, n)]
        return loss, torch.tensor(sum(kept), device=loss.device)

    def _fitting(self, batch: Batch) -> list[tuple[torch.Tensor, bool]]:
        """Give each target and whether its steps are enough, known before any pass."""
        if "audio" not in batch.media:
            return []
        steps, targets = batch.media["audio"][1].tolist(), self.targets(batch)
        for count in self.counts:
            steps = [count(n) for n in steps]
        return [(target, _fits(target, n)) for target, n in zip(targets, steps, strict=True)]

    def count(self, batch: Batch) -> int:
        """Number of target tokens in a batch that can be learned, known before any pass."""
        return sum(len(target) for target, fits in self._fitting(batch) if fits)

    def left_out(self, batch: Batch) -> list[str]:
        """Names of the utterances whose targets are longer than their steps."""
        fitting = self._fitting(batch)
        places = batch.slots[batch.which("audio"), :2].tolist() if fitting else []
        return [
            _name(batch, row, start)
            for (row, start), (_, fits) in zip(places, fitting, strict=True)
            if not fits
        ]

    def metrics(self, result: Pass) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Token error rate of the best path, as (errors, target tokens)."""
        if "audio" not in result.batch.media:
            return {}
        targets = [t.tolist() for t in self.targets(result.batch)]
        paths = self.head.greedy(result)
        sums = {"token_errors": _rate(targets, paths)}
        own = self.head.alphabet
        if own and " " in own.units:
            words = ([own.read(one).split() for one in both] for both in (targets, paths))
            sums["word_errors"] = _rate(*words)
        if left := len(self.left_out(result.batch)):
            sums["left_out"] = torch.tensor(left), torch.tensor(0)  # a number, no mean
        return sums


def _fits(target: torch.Tensor, steps: int) -> bool:
    """Say whether a target has an alignment: equal neighbours want a blank between them."""
    # "a a b" wants a - a b: four steps
    return len(target) + int((target[1:] == target[:-1]).sum()) <= steps


def _rate(targets: list[list], paths: list[list]) -> tuple[torch.Tensor, torch.Tensor]:
    """Count errors, and what there is to be right in."""
    pairs = zip(targets, paths, strict=True)
    errors = sum(Levenshtein.distance(target, path) for target, path in pairs)
    return torch.tensor(errors), torch.tensor(sum(map(len, targets)))


def _name(batch: Batch, row: int, start: int) -> str:
    """Name the example that stands at a place."""
    return batch.names[_number(batch, row, start)]


def _number(batch: Batch, row: int, start: int) -> int:
    """Number the example that stands at a place; rows hold one, or several that are packed."""
    # the largest segment number of a row is how many examples it holds; of pairs, the rejected rows
    # come after the chosen ones, under the same names
    before = int(batch.segments[:row].amax(1).sum()) if row else 0
    number = before + int(batch.segments[row, start]) - 1
    return number % len(batch.names)
