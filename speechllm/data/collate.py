"""Examples to a Batch: rows padded on the left, media on the right.

Left padding lets a decoding prompt be generated from as it stands. In training several examples
may be packed into a row, one after the other, numbered by `segments`.
"""

from dataclasses import replace

import torch

from speechllm.data.batch import IGNORE, Batch, Kind, Media, positions_of
from speechllm.data.chat import Encoded
from speechllm.data.examples import Example


def collate(
    examples: list[Example], pad_id: int, errors: tuple[str, ...] = (), pack: int = 0
) -> Batch:
    """Make a batch of examples; see `Batch` for the shapes.

    Args:
        examples: at least one.
        pad_id: id of padding.
        errors: what could not be read.
        pack: most positions of a row that holds several examples, 0: a row an example.

    Raises:
        ValueError: pairs of answers, packed; stored states beside frames.
    """
    rows = fill([len(e.encoded.ids) for e in examples], pack)
    pairs = examples[0].rejected is not None
    if pairs and pack:
        raise ValueError("[data] pack: pairs of chosen and rejected answers cannot be packed")
    examples = [examples[i] for row in rows for i in row]
    sizes = [len(row) for row in rows]
    encoded = [e.encoded for e in examples]
    if pairs:
        encoded, sizes = encoded + [e.rejected for e in examples], sizes * 2
    words = [e.words for e in examples]
    return replace(
        _text(encoded, sizes, pad_id),
        encoded=_encoded(examples),
        media=_media(examples),
        names=tuple(e.row["id"] for e in examples),
        texts=tuple(" ".join(e.encoded.answers) for e in examples),
        seconds=sum(e.seconds for e in examples),
        errors=errors,
        modalities=tuple(kind for e in encoded for kind in e.modalities),
        masked=_masked(examples),
        n_answers=1 + pairs,
        words=_text(words, [len(row) for row in rows], pad_id) if words[0] else None,
    )


def _media(examples: list[Example]) -> dict[str, Media]:
    """Pad the media of each kind, in the order of the examples and of their texts."""
    by_kind: dict[str, list[tuple]] = {}
    for e in examples:
        for kind, x, n in zip(e.encoded.modalities, e.media, e.lengths, strict=True):
            by_kind.setdefault(kind, []).append((x, n))
    return {
        kind: Media(
            torch.nn.utils.rnn.pad_sequence([x for x, _ in pairs], batch_first=True),
            torch.tensor([n for _, n in pairs], dtype=torch.long),
        )
        for kind, pairs in by_kind.items()
    }


def _encoded(examples: list[Example]) -> frozenset:
    """Say which media come as states: all of a kind, or none."""
    stored = {kind for e in examples for kind in e.stored}
    for e in examples:
        if other := stored & {*e.encoded.modalities} - e.stored:
            raise ValueError(
                f"utterance {e.row['id']!r}: its {other.pop()} has no stored states, others of the "
                "batch have: run `speechllm data states` once more, or take them apart"
            )
    return frozenset(stored)


def _masked(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Pad the masks over states of each kind."""
    found: dict[str, list] = {}
    for e in examples:
        for kind, mask in e.masks:
            found.setdefault(kind, []).append(mask)
    pad = torch.nn.utils.rnn.pad_sequence
    return {kind: pad(masks, batch_first=True) for kind, masks in found.items()}


def fill(lengths: list[int], size: int) -> list[list[int]]:
    """Put examples into rows of up to `size` positions, the longest first, each where it fits.

    An example longer than `size` has a row alone, and without `size` each has one. Rows, and the
    examples in them, stand in the order of the examples.
    """
    # lengths 5 3 4 2 in rows of 8: 5, then 4 (no room beside 5: 9), then 3 (beside 5), 2 (beside 4)
    # make [0, 1] and [2, 3].
    if not size:
        return [[i] for i in range(len(lengths))]
    rows, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((r for r, left in enumerate(room) if lengths[i] <= left), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(size)
        rows[place].append(i)
        room[place] -= lengths[i]
    return sorted(sorted(row) for row in rows)


def _text(encoded: list[Encoded], sizes: list[int], pad_id: int) -> Batch:
    """Lay out rows of `sizes` examples each: all of a batch but its media."""
    pieces = iter(encoded)
    rows = [[next(pieces) for _ in range(size)] for size in sizes]
    width = max(sum(len(e.ids) for e in row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    labels = torch.full((len(rows), width), IGNORE)
    segments = torch.zeros(len(rows), width, dtype=torch.long)
    kinds = torch.full((len(rows), width), int(Kind.PAD), dtype=torch.int8)
    slots = []
    for i, row in enumerate(rows):
        start = width - sum(len(e.ids) for e in row)
        for number, one in enumerate(row, 1):
            here = slice(start, start + len(one.ids))
            ids[i, here] = torch.tensor(one.ids)
            labels[i, here] = torch.tensor(one.labels)
            kinds[i, here] = torch.tensor(one.kinds, dtype=torch.int8)
            segments[i, here] = number
            slots += [(i, start + first, count) for first, count in one.slots]
            start = here.stop
    return Batch(
        ids=ids,
        labels=labels,
        positions=positions_of(segments),
        segments=segments,
        kinds=kinds,
        media={},
        slots=torch.tensor(slots, dtype=torch.long).reshape(-1, 3),
        names=(),
    )
