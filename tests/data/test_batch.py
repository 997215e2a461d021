"""Slots that turn out shorter than reserved: the gaps close, nothing else moves."""

import torch

from speechllm.data.batch import IGNORE, Batch, Kind, Media


def batch(rows, slots):
    """Make a batch of rows of (id, kind), left-padded; labels at answers."""
    size = max(map(len, rows))
    rows = [[(0, Kind.PAD)] * (size - len(row)) + row for row in rows]
    ids = torch.tensor([[i for i, _ in row] for row in rows])
    kinds = torch.tensor([[int(k) for _, k in row] for row in rows], dtype=torch.int8)
    segments = (kinds != Kind.PAD).long()
    return Batch(
        ids=ids,
        labels=ids.masked_fill(kinds != Kind.ANSWER, IGNORE),
        positions=(segments.cumsum(1) - 1).clamp(min=0),
        segments=segments,
        kinds=kinds,
        media={"audio": Media(torch.zeros(len(slots), 4, 1), torch.full((len(slots),), 4))},
        slots=torch.tensor(slots),
        names=tuple("ab"[: len(rows)]),
    )


P, S, A = Kind.PROMPT, Kind.SLOT, Kind.ANSWER
ROWS = [
    [(1, P), (0, S), (0, S), (0, S), (2, P), (0, S), (0, S), (7, A), (8, A)],
    [(1, P), (0, S), (0, S), (9, A)],
]
SLOTS = [[0, 1, 3], [0, 5, 2], [1, 6, 2]]


def test_full_slots_change_nothing():
    """The batch itself comes back."""
    made = batch(ROWS, SLOTS)
    assert made.fit(torch.tensor([3, 2, 2])) is made


def test_short_slots_close_up():
    """As if it had been built with the shorter slots from the start."""
    made = batch(ROWS, SLOTS).fit(torch.tensor([1, 2, 0]))
    wanted = batch(
        [
            [(1, P), (0, S), (2, P), (0, S), (0, S), (7, A), (8, A)],
            [(1, P), (9, A)],
        ],
        [[0, 1, 1], [0, 3, 2], [1, 6, 0]],
    )
    for key in ("labels", "positions", "segments", "kinds", "slots"):
        assert torch.equal(getattr(made, key), getattr(wanted, key)), key
    real = wanted.segments > 0
    assert torch.equal(made.ids[real], wanted.ids[real])
    assert made.names == wanted.names
