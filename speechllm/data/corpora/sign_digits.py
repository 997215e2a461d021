"""Sign Language Digits: 2062 photographs of hands that sign zero to nine, by 218 volunteers.

`corpus` holds a folder for each digit, "0" to "9", with IMG_<number>.JPG in it. Written are

    <split>             a photograph: which digit is signed?
    numbers_<split>     two or three photographs, and the number before it in words: which number?
    text, text_dev      the same questions with the digits' names in the photographs' place

The files name no signer, but each took ten photographs in turn, zero to nine, and the numbers of
the files run on through the folders: ten numbers in a row are mostly one signer. So the
photographs, in the order of their numbers, are cut into 20 stretches of about ten signers each;
four are test, two are dev. Only at their 12 ends may a signer be on both sides.

    speechllm data prepare sign_digits --corpus sign/digits --out data/sign_digits

A. Mavi, https://github.com/ardamavi/Sign-Language-Digits-Dataset
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.data import manifest
from speechllm.data.corpora._build import folder_of
from speechllm.data.corpora._scenes import DIGITS
from speechllm.media import image
from speechllm.ranges import Positive

STRETCHES = 20
TEST, DEV = (2, 7, 12, 17), (5, 15)  # stretches, spread over the cameras and days
QUESTIONS = {
    "digit": ("which digit is signed", "what is signed", "which digit do you see"),
    "number": ("which number is signed", "what number is it", "which number do you see"),
}
STEP = 9  # the number before is at most so much less


@dataclass(frozen=True)
class Photo:
    """One photograph: its file, its digit and the number in its name."""

    path: str
    digit: int
    number: int


@dataclass(frozen=True)
class Config:
    """Options: numbers of several digits for train (a tenth of that for dev and test), of text."""

    corpus: str
    out: str = "data/sign_digits"
    n_numbers: Positive = 3000
    n_text: Positive = 12000
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name. Raises ValueError."""
        out, rows = Path(self.out).absolute(), {}
        for split, photos in splits(_photos(self.corpus)).items():
            rng = self._rng(split)
            rows[split] = [_digit_row(photo, rng, split) for photo in photos]
            n = self.n_numbers if split == "train" else max(self.n_numbers // 10, 1)
            rows[f"numbers_{split}"] = list(_number_rows(photos, split, n, rng))
        for name, n in (("text", self.n_text), ("text_dev", 300)):
            rows[name] = list(_text_rows(name, n, self._rng(name)))
        paths = {name: out / f"{name}.jsonl" for name in rows}
        out.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            manifest.write(path, rows[name])
        return paths

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.seed} {what}".encode()))


def splits(photos: list[Photo]) -> dict[str, list[Photo]]:
    """Cut photographs, in the order of their numbers, into train, dev and test."""
    found: dict[str, list[Photo]] = {"train": [], "dev": [], "test": []}
    for place, photo in enumerate(photos):
        stretch = place * STRETCHES // len(photos)
        found["test" if stretch in TEST else "dev" if stretch in DEV else "train"].append(photo)
    return found


def _photos(corpus: str) -> list[Photo]:
    """List the photographs, in the order of their numbers.

    Raises:
        ValueError: a folder is missing or empty, a file is no picture.
    """
    folder, found = folder_of(corpus, "the folder with 0/ to 9/ in it"), []
    for digit in range(10):
        files = [p for p in (folder / str(digit)).glob("*") if p.suffix.lower() in (".jpg", ".png")]
        if not files:
            raise ValueError(f"{folder / str(digit)}: no photograph in it")
        for path in files:
            numbers = re.findall(r"\d+", path.stem)
            if not numbers:
                raise ValueError(f"{path}: no number in its name, by which signers are told apart")
            if faults := image.faults({"image": str(path)}):
                raise ValueError(faults[0][0])
            found.append(Photo(str(path), digit, int(numbers[-1])))
    return sorted(found, key=lambda photo: (photo.number, photo.digit))


def _in_words(number: int, width: int) -> str:
    """Write a number digit by digit: 47 -> "four seven"."""
    return " ".join(DIGITS[int(digit)] for digit in f"{number:0{width}d}")


def _asked(kind: str, before: str, rng: np.random.Generator, first: bool = False) -> str:
    forms = QUESTIONS[kind]
    form = forms[0] if first else forms[int(rng.integers(len(forms)))]
    return f"after {before} {form}" if before else form


def _row(id: str, photos: list[Photo], question: str, text: str, kind: str) -> dict:
    pictures = [{"type": "image", "image": p.path, "text": DIGITS[p.digit]} for p in photos]
    content = [*pictures, {"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": text}]
    row = {"id": id, "messages": turns, "text": text, "kind": kind}
    return row | {"duration": image.COST_S * len(photos)}


def _digit_row(photo: Photo, rng: np.random.Generator, split: str) -> dict:
    id = f"{split}-{photo.digit}-{photo.number}"
    question = _asked("digit", "", rng, first=split != "train")
    return _row(id, [photo], question, DIGITS[photo.digit], "digit")


def _numbers(n: int, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Draw (width, number, number before)."""
    for _ in range(n):
        width = int(rng.integers(2, 4))
        number = int(rng.integers(STEP, 10**width))
        yield width, number, number - int(rng.integers(1, STEP + 1))


def _number_rows(
    photos: list[Photo], split: str, n: int, rng: np.random.Generator
) -> Iterator[dict]:
    by_digit = {digit: [p for p in photos if p.digit == digit] for digit in range(10)}
    for place, (width, number, before) in enumerate(_numbers(n, rng)):
        signed = []
        for digit in f"{number:0{width}d}":
            those = by_digit[int(digit)]
            signed.append(those[int(rng.integers(len(those)))])
        question = _asked("number", _in_words(before, width), rng, first=split != "train")
        text = _in_words(number, width)
        yield _row(f"{split}-number-{place:05d}", signed, question, text, "number")


def _text_rows(name: str, n: int, rng: np.random.Generator) -> Iterator[dict]:
    """Questions with the digits' names in the photographs' place: a digit, a number, in turn."""
    for place, (width, number, before) in enumerate(_numbers(n, rng)):
        digit = DIGITS[int(rng.integers(10))]
        one = {"heard": [digit], "text": digit, "question": _asked("digit", "", rng)}
        heard = _in_words(number, width).split()
        several = {"heard": heard, "text": " ".join(heard), "kind": "number"}
        several["question"] = _asked("number", _in_words(before, width), rng)
        yield {"id": f"{name}-{place:05d}", **(several if place % 3 else {**one, "kind": "digit"})}
