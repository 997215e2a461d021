"""Pictures for imports that see: made, asked about in conversations, and put into our batch."""

import dataclasses

import numpy as np
import torch
from PIL import Image

from features.patches import PLACE
from speechllm.data.batch import IGNORE
from speechllm.data.collate import collate
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest, write

SIZES = ((40, 60), (28, 28), (90, 31))  # height, width
# talks of one batch, a row a list of parts: a number is a picture
TALKS = {
    "one": [(0, "what is it?")],
    "several": [(1, "and", 2, "which?")],
    "padding": [(0, "what is it?"), (2, 1, "the same?"), ("between", 0)],
}
ALONE = {  # where one picture stands before all text
    "one": [(0, "what is it?")],
    "padding": [(0, "what is it?"), (1, "is it the same?"), (2, "no")],
}


def make(folder, sizes=SIZES) -> list:
    """Write pictures of noise; give their paths."""
    rng, paths = np.random.default_rng(0), []
    for i, size in enumerate(sizes):
        small = rng.integers(0, 256, (max(size[0] // 3, 1), max(size[1] // 3, 1), 3))
        picture = Image.fromarray(small.astype(np.uint8)).resize(size[::-1], Image.BICUBIC)
        paths.append(folder / f"{i}.png")
        picture.save(paths[-1])
    return paths


def messages(talk, paths) -> list[dict]:
    """Make a user's turn of texts and pictures."""
    content = [
        {"type": "image", "image": str(paths[part])}
        if isinstance(part, int)
        else {"type": "text", "text": part}
        for part in talk
    ]
    return [{"role": "user", "content": content}]


def batch_of(pair, talks, paths):
    """Make our batch of talks, up to their answers."""
    rows = [{"id": str(i), "messages": messages(t, paths)} for i, t in enumerate(talks)]
    write(pair.room / "rows.jsonl", rows)
    examples = Examples.of(pair.system, Manifest(pair.room / "rows.jsonl"), answer=False)
    made = [examples.make(0, i) for i in range(len(rows))]
    return collate(made, pair.system.tokenizer.pad_token_id)


def opened(talks, paths) -> list:
    """Open the pictures of talks, a list a row."""
    return [[Image.open(paths[p]) for p in talk if isinstance(p, int)] for talk in talks]


def tiles(batch, side: int, patch: int) -> torch.Tensor:
    """Put patches of our batch together: (tiles, 3, S, S) of all pictures, in order."""
    found = []
    for x, n in zip(*batch.media["image"], strict=True):
        squares = x[:n, :-PLACE].reshape(-1, side, side, 3, patch, patch)
        found.append(squares.permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, side * patch, side * patch))
    return torch.cat(found)


def labelled(batch):
    """Give a batch whose logits are wanted at every position."""
    return dataclasses.replace(batch, labels=batch.ids.masked_fill(batch.segments == 0, IGNORE))


def check_lora(kit, pair, paths, out) -> None:
    """LoRA on an import: the loss before is the import's to the bit, and LoRA alone learns."""
    rows = []
    for i in range(2):
        answer = {"role": "assistant", "content": "a b"}
        rows.append({"id": str(i), "messages": [*messages((i, "what?"), paths), answer]})
    write(pair.room / "lora.jsonl", rows)
    kit.check_start(pair, Manifest(pair.room / "lora.jsonl"), out, "branch.image.")
