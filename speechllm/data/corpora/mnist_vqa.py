"""Small scenes of real handwritten digits (MNIST's test images), and questions about them.

`corpus` holds t10k-images-idx3-ubyte(.gz) and t10k-labels-idx1-ubyte(.gz). Two or three digits are
laid out in a grid of three by three, each moved within its cell. Written are

    captions_<split>      describe the picture: each digit and its place
    questions_<split>     which, where, count, largest, left of, sum; true or false of two pictures
    digits_<split>        a digit alone, in any cell, and its name: for contrastive pretraining
    cells_<split>         four to nine digits anywhere, and nine words, what is in each cell
    text, text_dev        such questions with the digits' names in the pictures' place
    talks                 conversations of several such questions, some on four to nine digits
    lists, lists_dev      such scenes of four to nine digits, each listed with its place
    scenes/<split>/*.png  the pictures

Splits share no digit (8000, 1000 and 1000 of the 10,000, drawn by the seed), no layout (which cells
are occupied) and no form of words. Yes and no, true and false are balanced.

    speechllm data prepare mnist_vqa --corpus mnist --out data/mnist_vqa

Y. LeCun, C. Cortes, C. Burges: The MNIST database of handwritten digits.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from speechllm.data import manifest
from speechllm.data.corpora import _conversations, _scenes
from speechllm.data.corpora._build import folder_of
from speechllm.data.corpora._scenes import Asker, Question, Scene
from speechllm.ranges import Positive

DIGITS = {"train": 8000, "dev": 1000, "test": 1000}
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
CELL, SIDE = 36, 28  # pixels of a cell and of a digit
COST_S = 1.0  # of a picture (media/image.py)


@dataclass(frozen=True)
class Config:
    """Options: scenes of each split (dev has as many as test), questions a scene, of text alone.

    n_digits, n_cells: digits alone and crowded scenes, of train; dev and test have as many as
    scenes. n_talks, turns: conversations, and questions in one. n_lists: lists.
    """

    corpus: str
    out: str = "data/mnist_vqa"
    n_train: Positive = 8000
    n_test: Positive = 300
    per_scene: Positive = 3
    n_text: Positive = 20000
    n_talks: Positive = 60000
    turns: Positive = 6
    n_lists: Positive = 15000
    n_digits: Positive = 4000
    n_cells: Positive = 8000
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name. Raises ValueError."""
        images, labels = read_mnist(self.corpus)
        order = self._rng("digits").permutation(len(labels))
        bounds = np.cumsum([0, *DIGITS.values()])
        made, out = {}, Path(self.out).absolute()
        for place, split in enumerate(DIGITS):
            chosen = order[bounds[place] : bounds[place + 1]]
            painter = Painter(images[chosen], labels[chosen], out / "scenes" / split)
            rng = self._rng(split)
            captions, questions = self._scenes(split, painter, rng)
            made[f"captions_{split}"], made[f"questions_{split}"] = captions, questions
            made[f"digits_{split}"] = self._digits(split, painter)
            made[f"cells_{split}"] = self._cells(split, painter)
        for name, split, n in (("text", "train", self.n_text), ("text_dev", "dev", 600)):
            made[name] = list(_text_rows(name, split, n, self.seed, self._rng(name)))
        asker = Asker("train", self.seed, self._rng("talks"))
        made["talks"] = list(_talks(asker, self.n_talks, self.turns))
        for name, n in (("lists", self.n_lists), ("lists_dev", 300)):
            made[name] = list(_lists(name, n, self._rng(name)))
        paths = {name: out / f"{name}.jsonl" for name in made}
        for name, rows in made.items():
            manifest.write(paths[name], rows)
        return paths

    def _scenes(self, split: str, painter: "Painter", rng) -> tuple[list[dict], list[dict]]:
        """Draw the scenes of a split, and ask about each: captions, questions."""
        asker, captions, questions = Asker(split, self.seed, rng), [], []
        kinds = [kind for kind in _scenes.KINDS if kind != "caption"]
        for number in range(self.n_train if split == "train" else self.n_test):
            scene = asker.scene()
            path = painter.paint(scene, f"{number:05d}", rng)
            fitting = [kind for kind in kinds if asker.fits(kind, scene)]
            if split == "train":
                fitting = [fitting[i] for i in rng.permutation(len(fitting))[: self.per_scene]]
            id = f"{split}-{number:05d}"
            captions.append(_row(f"{id}-caption", asker.ask("caption", scene), [path]))
            for kind in fitting:
                question = asker.ask(kind, scene, number)
                paths = [
                    path if one == scene else painter.paint(one, f"{number:05d}_{kind}", rng)
                    for one in question.scenes
                ]
                questions.append(_row(f"{id}-{kind}", question, paths))
        return captions, questions

    def _digits(self, split: str, painter: "Painter") -> list[dict]:
        """Draw digits alone, each in some cell."""
        rng, rows = self._rng(f"digits {split}"), []
        for number in range(self.n_digits if split == "train" else self.n_test):
            cells: list[int | None] = [None] * 9
            digit = cells[int(rng.integers(9))] = int(rng.integers(10))
            scene = Scene(tuple(cells))
            path = painter.paint(scene, f"digit_{number:05d}", rng)
            asked = Question("digit", (scene,), "which digit is it", _scenes.DIGITS[digit])
            rows.append(_row(f"{split}-digit-{number:05d}", asked, [path]))
        return rows

    def _cells(self, split: str, painter: "Painter") -> list[dict]:
        """Draw crowded scenes."""
        rng, rows = self._rng(f"cells {split}"), []
        for number in range(self.n_cells if split == "train" else self.n_test):
            scene = _conversations.crowd(rng)
            path = painter.paint(scene, f"cells_{number:05d}", rng)
            asked = Question("cells", (scene,), "what is in each place", scene.words)
            rows.append(_row(f"{split}-cells-{number:05d}", asked, [path]))
        return rows

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.seed} {what}".encode()))


class Painter:
    """Lays digits (N, 28, 28) of some labels (N,) out as pictures, and saves them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, folder: Path):
        self.by_digit = {digit: images[labels == digit] for digit in range(10)}
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def paint(self, scene: Scene, name: str, rng: np.random.Generator) -> str:
        """Save a picture of a scene, white on black; give its path."""
        canvas = np.zeros((3 * CELL, 3 * CELL), np.uint8)
        for cell, digit in enumerate(scene.cells):
            if digit is None:
                continue
            images = self.by_digit[digit]
            down, right = rng.integers(CELL - SIDE + 1, size=2) + CELL * np.array(divmod(cell, 3))
            canvas[down : down + SIDE, right : right + SIDE] = images[rng.integers(len(images))]
        path = self.folder / f"{name}.png"
        Image.fromarray(canvas).save(path)
        return str(path)


def read_mnist(corpus: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, 28, 28) and labels (N,).

    Raises:
        ValueError: they are not there, or not what they should be.
    """
    folder = folder_of(corpus, f"the folder with {IMAGES}.gz in it")
    images, labels = _idx(folder, IMAGES, 3), _idx(folder, LABELS, 1)
    wanted = sum(DIGITS.values())
    if images.shape != (wanted, SIDE, SIDE) or labels.shape != (wanted,) or labels.max() > 9:
        raise ValueError(
            f"{folder}: wanted {wanted} digits of {SIDE} x {SIDE} pixels and their labels, got "
            f"{images.shape} and {labels.shape}"
        )
    return images, labels


def _idx(folder: Path, name: str, ndim: int) -> np.ndarray:
    """Read an array of bytes in MNIST's own format, packed or not."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: no {name}.gz in it")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        shape = np.frombuffer(data, ">u4", ndim, 4)
        if data[:4] != bytes((0, 0, 8, ndim)):
            raise ValueError("its first bytes are not IDX's")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{path}: no IDX file of {ndim} dimensions: {error}") from None


def _row(id: str, asked: Question, paths: list[str]) -> dict:
    pictures = [
        {"type": "image", "image": path, "text": scene.words}
        for path, scene in zip(paths, asked.scenes, strict=True)
    ]
    content = [*pictures, {"type": "text", "text": asked.question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": asked.text}]
    row = {"id": id, "messages": turns, "text": asked.text, "kind": asked.kind}
    return {**row, "duration": COST_S * len(paths)} | _choices(asked)


def _choices(asked: Question) -> dict:
    return {"choices": list(asked.choices)} if asked.choices else {}


def _text_rows(
    name: str, split: str, n: int, seed: int, rng: np.random.Generator
) -> Iterator[dict]:
    """Questions of all kinds in turn about scenes in words."""
    asker = Asker(split, seed, rng)
    for number in range(n):
        turn, which = divmod(number, len(_scenes.KINDS))
        kind = _scenes.KINDS[which]
        scene = asker.scene(2 if kind == "sum" else 0)
        while not asker.fits(kind, scene):
            scene = asker.scene()
        asked = asker.ask(kind, scene, turn)
        row = {"id": f"{name}-{number:06d}", "heard": [one.words for one in asked.scenes]}
        row |= {"question": asked.question, "text": asked.text, "kind": kind}
        yield row | _choices(asked)


def _talks(asker: Asker, n: int, turns: int) -> Iterator[dict]:
    """Conversations about one scene in words, every other one crowded, and, as often, about two."""
    for number in range(n):
        pair, crowded = number % 2 == 1, number % 4 == 2
        asked = _conversations.conversation(asker, turns, pair, crowded)
        told = " ".join(scene.words for scene in asked[0].scenes)
        messages = []
        for one in asked:
            question = one.question if messages else f"{told} {one.question}"
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": one.text})
        yield {"id": f"talk-{number:06d}", "messages": messages, "text": asked[-1].text}


def _lists(name: str, n: int, rng: np.random.Generator) -> Iterator[dict]:
    for number in range(n):
        one = _conversations.listed(rng, digits_first=number % 2 == 0)
        row = {"id": f"{name}-{number:06d}", "heard": [one.scenes[0].words]}
        yield row | {"question": one.question, "text": one.text, "kind": one.kind}
