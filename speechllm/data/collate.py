"""Examples to a Batch: rows padded on the left, media on the right.

Left padding puts the answers of all rows at the end: logits are then wanted for few positions, and
a decoding prompt can be generated from as it stands.
"""

import torch

from speechllm.data.batch import IGNORE, Batch, Kind
from speechllm.data.examples import Example


def collate(examples: list[Example], pad_id: int, errors: tuple[str, ...] = ()) -> Batch:
    """Make a batch of examples; see `Batch` for the shapes."""
    size = max(len(e.encoded.ids) for e in examples)
    ids = torch.full((len(examples), size), pad_id)
    labels = torch.full((len(examples), size), IGNORE)
    kinds = torch.full((len(examples), size), int(Kind.PAD), dtype=torch.int8)
    slots = []
    for i, example in enumerate(examples):
        start = size - len(example.encoded.ids)
        ids[i, start:] = torch.tensor(example.encoded.ids)
        labels[i, start:] = torch.tensor(example.encoded.labels)
        kinds[i, start:] = torch.tensor(example.encoded.kinds, dtype=torch.int8)
        slots += [(i, start + first, count) for first, count in example.encoded.slots]
    segments = (kinds != Kind.PAD).long()
    media = [x for e in examples for x in e.media]
    return Batch(
        ids=ids,
        labels=labels,
        positions=(segments.cumsum(1) - 1).clamp(min=0),
        segments=segments,
        kinds=kinds,
        media=torch.nn.utils.rnn.pad_sequence(media, batch_first=True) if media else None,
        media_lengths=torch.tensor([n for e in examples for n in e.lengths], dtype=torch.long),
        slots=torch.tensor(slots, dtype=torch.long).reshape(-1, 3),
        names=tuple(e.row["id"] for e in examples),
        seconds=sum(e.seconds for e in examples),
        errors=errors,
        modalities=tuple(kind for e in examples for kind in e.encoded.modalities),
    )
