"""Show an example as the model gets it: every token with its kind and label, and its picture."""

import features
from speechllm.data import chat
from speechllm.data.batch import IGNORE, Kind
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.data.system import System
from speechllm.media import audio
from speechllm.tasks.asr import sound


def show(system: System, path, id: str, plot=None) -> str:
    """Describe one example, token by token; draw its spectrogram into `plot` if given.

    Args:
        system: what reads it.
        path: the manifest.
        id: which example.
        plot: a PNG to write.

    Raises:
        ValueError: no such id (the near ones are named), audio that cannot be read.
    """
    manifest = Manifest(path)
    example = Examples.of(system, manifest).make(0, manifest.find(id))
    lines = [f"{key:<10}{value}" for key, value in example.row.items()]
    for x, n, (start, count) in zip(
        example.media, example.lengths, example.encoded.slots, strict=True
    ):
        shape = tuple(x.shape)
        lines.append(f"media     {shape} of {n} frames -> {count} soft tokens at {start}")
    lines += ["", *_table(system.tokenizer, example.encoded)]
    if plot is not None and "audio" in example.row:
        _draw(example.row, system.branches["audio"].front.sampling_rate, plot)
        lines += ["", f"drawn: {plot}"]
    return "\n".join(lines)


def _table(tokenizer, encoded: chat.Encoded) -> list[str]:
    """One line a position; a slot is one line however long it is."""
    rows = ["position      id  kind    label  token"]
    inside = {start + i for start, count in encoded.slots for i in range(1, count)}
    ends = {start: count for start, count in encoded.slots}
    for at, (i, kind, label) in enumerate(
        zip(encoded.ids, encoded.kinds, encoded.labels, strict=True)
    ):
        if at in inside:
            continue
        token = tokenizer.convert_ids_to_tokens(i)
        wanted = "-" if label == IGNORE else str(label)
        if kind is Kind.SLOT:
            i, token = "", f"({ends[at]} soft tokens, to {at + ends[at] - 1})"
        rows.append(f"{at:8d}  {i:>6}  {kind.name.lower():<6}  {wanted:>5}  {token}")
    return rows


def _draw(row: dict, rate: int, plot) -> None:
    wave = audio.open(sound(row), rate)
    figure = features.draw(wave, rate, title=f"{row['id']}: {row.get('text', '')}")
    figure.savefig(plot)
