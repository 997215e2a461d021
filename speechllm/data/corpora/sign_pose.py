"""A lexicon of signs as `.pose` files, and sentences made of them.

    index.csv         path,words,...      as spoken-to-signed-translation has it
    sgg/pizza.pose    "sgg/pizza.pose", "pizza"

Written are

    poses, poses_dev    single signs, cut at random: what masked prediction learns from
    few                 some of these, whose names are learned
    <split>             two to four signs in a row, and the one before in words: which signs?
    text, text_dev      the same questions with words in the signs' place

A lexicon has a sign once, by one signer. So sentences of train, dev and test differ in which signs
follow each other and in where each is cut, no more: what a model makes of another signer they do
not say. No order of signs in dev or test is one of train.

    speechllm data prepare sign_pose --corpus sign/lexicon_sgg --out data/sign_pose

spoken-to-signed-translation: A. Moryossef et al., arXiv 2305.17714.
"""

import csv
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.data import manifest
from speechllm.data.corpora._build import folder_of
from speechllm.media import pose
from speechllm.ranges import Positive

QUESTIONS = ("which signs are these", "what is signed", "which signs do you see")
SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}  # of the orders of signs
SHORTEST = 0.6  # of a sign that is cut


@dataclass(frozen=True)
class Sign:
    """A sign: its file, its word and how long it is."""

    path: str
    word: str
    duration_s: float


@dataclass(frozen=True)
class Config:
    """Options: sentences of train (a tenth of that for dev and test), single signs, of text.

    n_few: single signs whose names are learned.
    """

    corpus: str
    out: str = "data/sign_pose"
    n_train: Positive = 1500
    n_poses: Positive = 600
    n_few: Positive = 8
    n_text: Positive = 6000
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name. Raises ValueError."""
        signs, out, rows = _signs(self.corpus), Path(self.out).absolute(), {}
        for name, orders in _orders(signs, self._rng("orders")).items():
            n = self.n_train if name == "train" else max(self.n_train // 10, 1)
            rows[name] = list(_sentences(name, orders, n, self._rng(name)))
        singles = {"poses": self.n_poses, "poses_dev": max(self.n_poses // 10, 1)}
        for name, n in {**singles, "few": self.n_few}.items():
            rows[name] = list(_singles(name, signs, n, self._rng(name)))
        for name, n in (("text", self.n_text), ("text_dev", 200)):
            rows[name] = list(_texts(name, signs, n, self._rng(name)))
        paths = {name: out / f"{name}.jsonl" for name in rows}
        out.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            manifest.write(path, rows[name])
        return paths

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.seed} {what}".encode()))


def _signs(corpus: str) -> list[Sign]:
    """Read the index, and how long each sign is.

    Raises:
        ValueError: no index, no such columns, a file that is missing or no pose, under two signs.
    """
    folder = folder_of(corpus, "the folder with index.csv in it")
    path = folder / "index.csv"
    if not path.is_file():
        raise ValueError(f"{folder}: no index.csv in it, which says which file is which word")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "words"} <= set(rows[0]):
        raise ValueError(f"{path}: wanted columns path and words, and a row a sign")
    found = []
    for number, row in enumerate(rows, start=2):
        part = {"type": "pose", "pose": str(folder / (row["path"] or ""))}
        if not row["words"] or (faults := pose.faults(part)):
            why = faults[0][0] if row["words"] else "no words"
            raise ValueError(f"{path}:{number}: {why}")
        found.append(Sign(part["pose"], row["words"], pose.cost(part)))
    if len(found) < 2:
        raise ValueError(f"{path}: one sign; sentences want two or more")
    return found


def _orders(signs: list[Sign], rng: np.random.Generator) -> dict[str, list[tuple[Sign, ...]]]:
    """Share the orders of two to four different signs out among the splits."""
    sizes = range(2, min(len(signs), 4) + 1)
    every = [order for n in sizes for order in itertools.permutations(signs[:8], n)]
    every = [every[i] for i in rng.permutation(len(every))]
    ends = np.cumsum([0, *SHARES.values()])
    cuts = [round(end * len(every)) for end in ends]
    parts = zip(cuts, cuts[1:], strict=False)
    return {name: every[a:b] or every[-1:] for name, (a, b) in zip(SHARES, parts, strict=True)}


def _cut(sign: Sign, rng: np.random.Generator) -> dict:
    """A part of a sign."""
    length = sign.duration_s * rng.uniform(SHORTEST, 1.0)
    start = rng.uniform(0.0, sign.duration_s - length)
    return {"type": "pose", "pose": sign.path, "start": round(start, 2),
            "duration": round(length, 2), "text": sign.word}  # fmt: skip


def _question(before: str, rng: np.random.Generator, split: str) -> str:
    form = QUESTIONS[0 if split != "train" else int(rng.integers(len(QUESTIONS)))]
    return f"after {before} {form}"


def _sentences(name: str, orders: list, n: int, rng: np.random.Generator) -> Iterator[dict]:
    for place in range(n):
        order = orders[int(rng.integers(len(orders)))]
        before = " ".join(sign.word for sign in orders[int(rng.integers(len(orders)))])
        parts = [_cut(sign, rng) for sign in order]
        text = " ".join(sign.word for sign in order)
        content = [*parts, {"type": "text", "text": _question(before, rng, name)}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": text}]
        seconds = round(sum(part["duration"] for part in parts), 2)
        yield {"id": f"{name}-{place:05d}", "messages": turns, "text": text, "duration": seconds}


def _singles(name: str, signs: list, n: int, rng: np.random.Generator) -> Iterator[dict]:
    for place in range(n):
        part = _cut(signs[place % len(signs)], rng)
        content = [part, {"type": "text", "text": QUESTIONS[1]}]
        turns = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": part["text"]},
        ]
        yield {"id": f"{name}-{place:05d}", "messages": turns, "text": part["text"],
               "duration": part["duration"]}  # fmt: skip


def _texts(name: str, signs: list, n: int, rng: np.random.Generator) -> Iterator[dict]:
    words = [sign.word for sign in signs]
    for place in range(n):
        said = [words[i] for i in rng.integers(len(words), size=int(rng.integers(1, 5)))]
        before = " ".join(words[i] for i in rng.integers(len(words), size=int(rng.integers(2, 5))))
        question = _question(before, rng, "train")
        yield {"id": f"{name}-{place:05d}", "heard": said, "question": question,
               "text": " ".join(said)}  # fmt: skip
