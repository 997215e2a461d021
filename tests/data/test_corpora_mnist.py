"""Digits alone: each picture under its name, no picture in two splits, the question in words."""

import gzip

import numpy as np
import pytest

from features import image
from speechllm.data import manifest
from speechllm.data.corpora import mnist
from speechllm.data.corpora._scenes import DIGITS
from speechllm.data.validate import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """MNIST's files with pictures of one grey, 20 times the digit, their number inside."""
    folder = tmp_path_factory.mktemp("mnist")
    labels = np.arange(10_000) % 10
    images = np.repeat((labels * 20)[:, None, None], 28, 1).repeat(28, 2).astype(np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(10_000) // 100, np.arange(10_000) % 100
    for name, values in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
        data = head + values.astype(np.uint8).tobytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(data, 1))
    return mnist.Config(str(folder), str(folder / "out")).prepare()


def test_each_picture_has_its_name_and_is_in_one_split(made):
    sizes, seen = {}, set()
    for split in ("train", "dev", "test"):
        rows = [*manifest.Manifest(made[split])]
        sizes[split] = len(rows)
        for row in rows[:: len(rows) // 20]:
            part = row["messages"][0]["content"][0]
            pixels = image.load(part["image"])
            assert row["text"] == row["messages"][1]["content"] == DIGITS[pixels[9, 9, 0] // 20]
            assert int(row["id"].split("-")[1]) == 100 * int(pixels[0, 0, 0]) + int(pixels[0, 1, 0])
        numbers = {row["id"].split("-")[1] for row in rows}
        assert len(numbers) == len(rows) and not numbers & seen
        seen |= numbers
    assert sizes == {"train": 8000, "dev": 1000, "test": 1000}
    assert validate(made["dev"], workers=1) == []


def test_the_question_in_words(made):
    rows = [*manifest.Manifest(made["text"])]
    assert {row["text"] for row in rows} == {*DIGITS}
    assert all(row["heard"] == [row["text"]] and row["question"] == mnist.QUESTION for row in rows)
