"""Real handwritten digits alone (MNIST's test images) and their names: which digit is it?

`corpus` holds t10k-images-idx3-ubyte(.gz) and t10k-labels-idx1-ubyte(.gz). Written are

    train, dev, test        8000, 1000 and 1000 pictures, drawn by the seed
    text, text_dev          the question with names in the pictures' place
    digits/<split>/*.png    the pictures, 28 x 28

    speechllm data prepare mnist --corpus mnist --out data/mnist

Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from speechllm.data import manifest
from speechllm.data.corpora._scenes import DIGITS as NAMES
from speechllm.data.corpora.mnist_vqa import COST_S, DIGITS, read_mnist

QUESTION = "which digit is it"
N_TEXT = {"text": 1000, "text_dev": 100}


@dataclass(frozen=True)
class Config:
    """Options."""

    corpus: str
    out: str = "data/mnist"
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name. Raises ValueError."""
        images, labels = read_mnist(self.corpus)
        rng = np.random.default_rng(zlib.crc32(f"{self.seed} digits".encode()))
        order, out = rng.permutation(len(labels)), Path(self.out).absolute()
        bounds, made = np.cumsum([0, *DIGITS.values()]), {}
        for place, split in enumerate(DIGITS):
            chosen = order[bounds[place] : bounds[place + 1]]
            folder = out / "digits" / split
            folder.mkdir(parents=True, exist_ok=True)
            made[split] = [_row(split, folder, i, images[i], int(labels[i])) for i in chosen]
        made |= {name: [*_text_rows(name, n)] for name, n in N_TEXT.items()}
        for name, rows in made.items():
            manifest.write(out / f"{name}.jsonl", rows)
        return {name: out / f"{name}.jsonl" for name in made}


def _row(split: str, folder: Path, number: int, pixels: np.ndarray, digit: int) -> dict:
    path, name = folder / f"{number:05d}.png", NAMES[digit]
    Image.fromarray(pixels).save(path)
    asked = [{"type": "image", "image": str(path)}, {"type": "text", "text": QUESTION}]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": name}]
    row = {"id": f"{split}-{number:05d}", "messages": turns, "text": name, "duration": COST_S}
    return row | {"choices": NAMES}


def _text_rows(name: str, n: int) -> Iterator[dict]:
    for number in range(n):
        digit = NAMES[number % len(NAMES)]
        yield {"id": f"{name}-{number}", "heard": [digit], "question": QUESTION, "text": digit}
