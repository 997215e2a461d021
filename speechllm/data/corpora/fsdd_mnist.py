"""Spoken and written digits side by side: the Free Spoken Digit Dataset and MNIST's test images.

`spoken` holds FSDD's recordings (see fsdd.py), `written` MNIST's t10k files (see mnist_vqa.py).
Written are

    spoken_<split>      a recording: which digit is it?
    written_<split>     a picture: which digit is it?
    pairs_<split>       a recording and a picture: are they the same digit? yes or no, as often
    matched_<split>     a recording and a picture of the same digit, for one space of both
    text, text_dev      such questions with the digits' names in their place
    digits/<split>/     the pictures

Recordings of index 0 to 4 are test, as FSDD's README says, 5 to 9 dev; of the pictures 8000, 1000
and 1000 are train, dev and test. Questions of the test have a form of words of their own.

    speechllm data prepare fsdd_mnist --spoken fsdd --written mnist --out data/fsdd_mnist
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import features
from speechllm.data import manifest
from speechllm.data.corpora._build import Faults
from speechllm.data.corpora._scenes import YES_NO
from speechllm.data.corpora.fsdd import N_TEST, WORDS, Recording, recordings_of
from speechllm.data.corpora.mnist_vqa import DIGITS, read_mnist
from speechllm.media import image
from speechllm.ranges import Positive

FORMS = {
    "train": ("is it the same digit", "are both the same digit", "are they the same", "is it the "
              "same", "are both one digit", "do both have the same digit"),
    "dev": ("are both the same",),
    "test": ("do they have the same digit",),
}  # fmt: skip
NAMED = "which digit is it"


@dataclass(frozen=True)
class Written:
    """A picture of a digit."""

    path: str
    digit: int


@dataclass(frozen=True)
class Config:
    """Options: pictures of train (dev and test have all of theirs), pairs a recording, texts."""

    spoken: str
    written: str
    out: str = "data/fsdd_mnist"
    n_written: Positive = 4000
    per_recording: Positive = 2
    n_text: Positive = 6000
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name. Raises ValueError."""
        out = Path(self.out).absolute()
        faults, rows = Faults(self.on_error), {}
        recordings = _split(recordings_of(self.spoken, faults))
        faults.settle(out)
        pictures = self._pictures(out / "digits")
        for split, heard in recordings.items():
            rng, seen = self._rng(split), pictures[split]
            rows[f"spoken_{split}"] = [_spoken(one) for one in heard]
            rows[f"written_{split}"] = [_written(one) for one in seen]
            pairs = list(_pairs(split, heard, seen, self.per_recording, rng))
            rows[f"pairs_{split}"] = pairs
            rows[f"matched_{split}"] = list(_matched(split, heard, seen, rng))
        for name, split, n in (("text", "train", self.n_text), ("text_dev", "dev", 300)):
            rows[name] = list(_text_rows(name, split, n, self._rng(name)))
        for name, made in rows.items():
            manifest.write(out / f"{name}.jsonl", made)
        return {name: out / f"{name}.jsonl" for name in rows}

    def _pictures(self, folder: Path) -> dict[str, list[Written]]:
        """Save the pictures of each split."""
        images, labels = read_mnist(self.written)
        order = self._rng("digits").permutation(len(labels))
        bounds, found = np.cumsum([0, *DIGITS.values()]), {}
        for place, split in enumerate(DIGITS):
            chosen = order[bounds[place] : bounds[place + 1]]
            chosen = chosen[: self.n_written] if split == "train" else chosen
            (folder / split).mkdir(parents=True, exist_ok=True)
            found[split] = []
            for i in chosen:
                path = folder / split / f"{labels[i]}_{i:05d}.png"
                Image.fromarray(images[i]).save(path)
                found[split].append(Written(str(path), int(labels[i])))
        return found

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.seed} {what}".encode()))


def _split(recordings: list[Recording]) -> dict[str, list[Recording]]:
    """Index 0 to 4 is test, 5 to 9 is dev.

    Raises:
        ValueError: a split has no recording of some digit.
    """
    found: dict[str, list[Recording]] = {"train": [], "dev": [], "test": []}
    for one in recordings:
        split = "test" if one.index < N_TEST else "dev" if one.index < 2 * N_TEST else "train"
        found[split].append(one)
    for split, those in found.items():
        if missing := {*range(10)} - {one.digit for one in those}:
            raise ValueError(f"{split}: no recording of the digit {min(missing)}")
    return found


def _sound(one: Recording) -> dict:
    seconds = round(features.info(one.path).duration_s, 6)
    return {"type": "audio", "audio": str(one.path), "duration": seconds, "text": WORDS[one.digit]}


def _picture(one: Written) -> dict:
    return {"type": "image", "image": one.path, "text": WORDS[one.digit]}


def _row(id: str, parts: list[dict], question: str, text: str, kind: str) -> dict:
    turns = [
        {"role": "user", "content": [*parts, {"type": "text", "text": question}]},
        {"role": "assistant", "content": text},
    ]
    seconds = sum(part.get("duration", image.COST_S) for part in parts)
    choices = list(YES_NO if kind == "pair" else WORDS)
    row = {"id": id, "messages": turns, "text": text, "kind": kind, "choices": choices}
    return row | {"duration": round(seconds, 6)}


def _spoken(one: Recording) -> dict:
    return _row(f"spoken-{one.path.stem}", [_sound(one)], NAMED, WORDS[one.digit], "spoken")


def _written(one: Written) -> dict:
    id = f"written-{Path(one.path).stem}"
    return _row(id, [_picture(one)], NAMED, WORDS[one.digit], "written")


def _pairs(
    split: str, heard: list[Recording], seen: list[Written], times: int, rng: np.random.Generator
) -> Iterator[dict]:
    """Each recording `times` with a picture of its digit, as often with another; either first."""
    for turn in range(2 * times):
        for place, one in enumerate(heard):
            same = (turn + place) % 2 == 0
            other = _of(seen, one.digit, same, rng)
            parts = [_sound(one), _picture(other)]
            forms = FORMS[split]
            question = forms[int(rng.integers(len(forms)))]
            id = f"{split}-{turn}-{one.path.stem}"
            parts = parts if rng.random() < 0.5 else parts[::-1]
            yield _row(id, parts, question, YES_NO[0 if same else 1], "pair")


def _matched(
    split: str, heard: list[Recording], seen: list[Written], rng: np.random.Generator
) -> Iterator[dict]:
    for one in heard:
        parts = [_sound(one), _picture(_of(seen, one.digit, True, rng))]
        id = f"{split}-matched-{one.path.stem}"
        yield _row(id, parts, NAMED, WORDS[one.digit], "matched")


def _of(seen: list[Written], digit: int, same: bool, rng: np.random.Generator) -> Written:
    """Draw a picture of this digit, or of any other."""
    those = [one for one in seen if (one.digit == digit) == same]
    return those[int(rng.integers(len(those)))]


def _text_rows(name: str, split: str, n: int, rng: np.random.Generator) -> Iterator[dict]:
    for number in range(n):
        first, other = (WORDS[i] for i in rng.permutation(10)[:2])
        id = f"{name}-{number:05d}"
        if number % 3 == 0:
            row = {"heard": [first], "question": NAMED, "text": first, "kind": "named"}
        else:
            same = number % 3 == 1
            heard = [first, first if same else other]
            question = FORMS[split][int(rng.integers(len(FORMS[split])))]
            row = {"heard": heard, "question": question, "text": YES_NO[0 if same else 1]}
            row |= {"kind": "pair"}
        yield {"id": id, **row}
