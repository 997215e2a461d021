"""Photographs of signs: signers stay on one side as far as the files say, answers are true."""

import numpy as np
import pytest
from PIL import Image

from speechllm.data import manifest
from speechllm.data.corpora import sign_digits
from speechllm.data.corpora._scenes import DIGITS
from speechllm.data.validate import validate


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twenty stretches of ten photographs: number n shows digit n % 10."""
    folder = tmp_path_factory.mktemp("signs")
    for number in range(200):
        home = folder / str(number % 10)
        home.mkdir(exist_ok=True)
        pixels = np.full((10, 10, 3), number, np.uint8)
        pixels[0, 0] = 255 - number
        Image.fromarray(pixels).save(home / f"IMG_{1000 + number}.png")
    return folder


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    config = sign_digits.Config(str(corpus), str(out), n_numbers=60, n_text=90)
    return {name: path for name, path in config.prepare().items()}


def rows(path):
    return [*manifest.Manifest(path)]


def shown(row) -> list[str]:
    *parts, _ = row["messages"][0]["content"]
    return [part["image"] for part in parts]


def test_stretches_of_signers_stay_together(made):
    numbers = {split: {int(shown(row)[0][-8:-4]) - 1000 for row in rows(made[split])}
               for split in ("train", "dev", "test")}  # fmt: skip
    assert {n // 10 for n in numbers["test"]} == set(sign_digits.TEST)
    assert {n // 10 for n in numbers["dev"]} == set(sign_digits.DEV)
    assert sum(map(len, numbers.values())) == 200
    for split in numbers:
        used = {int(path[-8:-4]) - 1000 for row in rows(made[f"numbers_{split}"])
                for path in shown(row)}  # fmt: skip
        assert used <= numbers[split]


def test_answers_are_what_is_signed(made):
    for name in ("train", "numbers_train", "numbers_test"):
        for row in rows(made[name]):
            digits = [DIGITS[int(path.split("/")[-2])] for path in shown(row)]
            assert row["text"] == " ".join(digits)
            question = row["messages"][0]["content"][-1]["text"]
            if row["kind"] == "number":
                before = [DIGITS.index(w) for w in question.split() if w in DIGITS]
                after = [DIGITS.index(w) for w in digits]
                value = [int("".join(map(str, each))) for each in (before, after)]
                assert len(before) == len(after) and 1 <= value[1] - value[0] <= sign_digits.STEP
    for row in rows(made["text"]):
        assert row["text"] == " ".join(row["heard"])


def test_manifests_are_fine(made):
    assert validate(made["numbers_test"], workers=1, deep=True) == []


def test_what_is_no_corpus_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="0: no photograph in it"):
        sign_digits.Config(str(tmp_path), str(tmp_path / "o")).prepare()
    for digit in range(10):
        (tmp_path / str(digit)).mkdir()
        (tmp_path / str(digit) / "x1.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="x1.jpg: no picture that can be read"):
        sign_digits.Config(str(tmp_path), str(tmp_path / "o")).prepare()
