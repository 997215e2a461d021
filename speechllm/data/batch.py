"""What a model is fed: one dataclass, the same for training and decoding, for every task.

Letters: B rows, S text positions, M media (in the order of their slots), N samples or frames.
Rows are padded on the left, so that a batch is generated from as it stands; media on the right.
"""

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

import torch
from torch.nn.functional import pad

from speechllm.data.rows import MEDIA as MEDIA

IGNORE = -100  # label of a position that carries no loss, torch's own convention


class Kind(IntEnum):
    """What a position is: padding, prompt text, slot for media, answer text, the answer's close."""

    PAD = 0
    PROMPT = 1
    SLOT = 2
    ANSWER = 3
    CLOSE = 4


class Media(NamedTuple):
    """The media of one kind in a batch, in the order of their slots; padded on the right.

    x: (M, T, F) or (M, N) float32. lengths: (M,) int64 valid frames or samples.
    """

    x: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """A batch of examples.

    Attributes:
        ids: (B, S) int64 token ids; any id stands at slots and padding.
        labels: (B, S) int64, the id itself where loss is wanted, else `IGNORE`. Not shifted.
        positions: (B, S) int64, counted from 0 at each example's first token.
        segments: (B, S) int64, 0 for padding, else the number (from 1) of the example in its row.
        kinds: (B, S) int8, `Kind` of each position.
        media: `Media` by kind, one of `MEDIA`; empty where the batch is text alone.
        slots: (M, 3) int64 rows of (row, start, count): where the soft tokens of medium m go, in
            the order of the text, whatever their kinds.
        names: utterance ids, row by row, for messages.
        texts: their answers as text, for what is spelled in other units than the LLM's.
        seconds: audio seconds in the batch, unpadded.
        modalities: what stands in each slot, one of `MEDIA`; empty where all are audio.
        errors: what could not be read (`--on-error skip`), one message an example.
        encoded: the media whose x are states (M, L, D) that an encoder once gave, stored since: it
            is skipped. Their lengths are those of the frames, as ever.
        masked: by medium (M, L) bool, states that training masks; nothing where it does not.
        n_answers: rows of one medium: 1, or 2 where the first half of the rows ends in the chosen
            answers and the second half in the rejected ones. The media stand there once; `slots`
            are then (2 M, 3), the chosen rows' first.
        words: the same rows with what was said in place of the media, for a teacher that reads;
            None where no objective wants one.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    kinds: torch.Tensor
    media: dict[str, Media]
    slots: torch.Tensor
    names: tuple[str, ...]
    texts: tuple[str, ...] = ()
    seconds: float = 0.0
    errors: tuple[str, ...] = field(default=())
    modalities: tuple[str, ...] = ()
    encoded: frozenset = frozenset()
    masked: dict = field(default_factory=dict)
    n_answers: int = 1
    words: "Batch | None" = None

    @property
    def n_chosen(self) -> int:
        """Rows whose answers are to be learned: all, or of pairs the chosen half."""
        return len(self.ids) // self.n_answers

    @property
    def wanted(self) -> torch.Tensor:
        """Whether the next token is to be learned (B, S - 1); an example's first never is."""
        return (self.labels[:, 1:] != IGNORE) & (self.positions[:, 1:] > 0)

    @property
    def packed(self) -> bool:
        """Whether some row holds several examples."""
        return bool((self.segments > 1).any())

    def to(self, device) -> "Batch":
        """Return the batch with every tensor on `device`."""
        movable = torch.Tensor | Batch
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, movable)}
        media = {k: Media(m.x.to(device), m.lengths.to(device)) for k, m in self.media.items()}
        masked = {kind: mask.to(device) for kind, mask in self.masked.items()}
        return replace(self, **moved, media=media, masked=masked)

    def which(self, kind: str) -> torch.Tensor:
        """Numbers of the slots that hold media of this kind; of pairs, among the chosen rows'."""
        n = len(self.slots) // self.n_answers
        kinds = self.modalities[:n] or ("audio",) * n
        here = [number for number, one in enumerate(kinds) if one == kind]
        return torch.tensor(here, dtype=torch.long, device=self.slots.device)

    def holding(self, kinds: tuple[str, ...]) -> torch.Tensor:
        """Say which positions (B, S) belong to an example that holds a medium of these kinds."""
        # Two examples packed in a row, a sound in the second, at column 4:
        #
        #     segments   0 1 1 2 2 2    slot (row 0, start 4) lies in segment 2
        #     inside     0 0 0 1 1 1    added up over the slots of the row: there where above 0
        stand = self.modalities or ("audio",) * len(self.slots)
        chosen = torch.tensor([kind in kinds for kind in stand], dtype=torch.bool)
        row, start, _ = self.slots[chosen.to(self.slots.device)].unbind(1)
        number = self.segments[row, self._within(start)]
        inside = (self.segments[row] == number[:, None]).long()
        return torch.zeros_like(self.segments).index_add_(0, row, inside) > 0

    def beside(self, kind: str, kinds: tuple[str, ...]) -> torch.Tensor:
        """Say of each medium of a kind (M,) whether its example also holds one of `kinds`."""
        row, start, _ = self.slots[self.which(kind)].unbind(1)
        return self.holding(kinds)[row, self._within(start)]

    def _within(self, start: torch.Tensor) -> torch.Tensor:
        """Give columns that there are: an empty slot at a row's very end starts one behind it."""
        return start.clamp(max=self.segments.shape[1] - 1)

    def fit(self, lengths: torch.Tensor) -> "Batch":
        """Shorten the slots to `lengths` (M,) and close the gaps, towards the end of each row.

        For adapters whose number of soft tokens depends on what was said: a slot reserves the most
        there can be. Where each slot is full already, the batch itself comes back.
        """
        row, start, count = self.slots.unbind(1)
        if torch.equal(lengths, count):
            return self
        # A row (- padding, p prompt, M reserved for soft tokens, a answer) whose slot is (0, 2, 3)
        # has 2 soft tokens, beside a longer row that keeps 6 positions:
        #
        #     row      - p M M M a a      stays 0 1 1 1 0 1 1: the third M goes
        #     order    0 4 | 1 2 3 5 6    positions that go, then those that stay, both in order
        #     new row    - p M M a a      the last 6 of `order`; what went is padding on the left
        #     slot     the 4 positions from the slot on (M M a a) are the last 4: start 6 - 4 = 2
        stays = self.segments > 0
        for r, begin, end in zip(row, start + lengths, start + count, strict=True):
            stays[r, begin:end] = False
        left = stays.sum(1)
        size = int(left.max())
        order = torch.argsort(stays.byte(), dim=1, stable=True)[:, -size:]
        padding = torch.arange(size, device=stays.device) < size - left[:, None]
        # how many stay from each position on; one more column, as a slot may end its row empty
        after = pad(stays.flip(1).cumsum(1).flip(1), (0, 1))
        take = {k: getattr(self, k).gather(1, order) for k in ("ids", "segments", "kinds")}
        segments = take["segments"].masked_fill(padding, 0)
        return replace(
            self,
            ids=take["ids"],
            kinds=take["kinds"].masked_fill(padding, int(Kind.PAD)),
            labels=self.labels.gather(1, order).masked_fill(padding, IGNORE),
            segments=segments,
            positions=positions_of(segments),
            slots=torch.stack([row, size - after[row, start], lengths], 1),
        )


def positions_of(segments: torch.Tensor) -> torch.Tensor:
    """Count positions from 0 at each example's first token: segments (B, S) -> (B, S), padding 0.

    An example's positions stand side by side.
    """
    # segments  0 0 1 1 1 2 2
    # first     0 0 2 2 2 5 5    the column where each began: the last beginning so far
    # column    0 1 2 3 4 5 6    their difference is the position, 0 in padding
    column = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = segments.diff(prepend=segments[:, :1] - 1) != 0
    first = column.masked_fill(~begins, 0).cummax(1).values
    return (column - first).masked_fill(segments == 0, 0)
