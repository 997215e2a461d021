"""Spoken and written digits: pairs are what they say, the splits share nothing."""

import gzip
from collections import Counter

import numpy as np
import pytest
import soundfile

from speechllm.data import manifest
from speechllm.data.corpora import fsdd_mnist
from speechllm.data.corpora.fsdd import WORDS
from speechllm.data.validate import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("corpora")
    (home / "fsdd").mkdir()
    rng = np.random.default_rng(0)
    for digit in range(10):
        for index in (0, 5, 10, 11):
            wave = 0.1 * rng.standard_normal(1600 + 80 * digit)
            soundfile.write(home / "fsdd" / f"{digit}_ann_{index}.wav", wave, 8000)
    labels = np.arange(10_000, dtype=np.uint8) % 10
    images = np.zeros((10_000, 28, 28), np.uint8) + labels[:, None, None]
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        head = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
        (home / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes(), 1))
    config = fsdd_mnist.Config(
        str(home / "fsdd"), str(home), str(home / "out"), n_written=200, n_text=60
    )
    return config.prepare()


def rows(path):
    return [*manifest.Manifest(path)]


def media(row) -> dict[str, str]:
    return {part["type"]: part[part["type"]] for part in row["messages"][0]["content"][:-1]}


def digits(row) -> set[int]:
    """The digit of each file, by its name."""
    return {int(path.split("/")[-1][0]) for path in media(row).values()}


def test_pairs_are_what_they_say(made):
    for split in ("train", "dev", "test"):
        pairs = rows(made[f"pairs_{split}"])
        counts = Counter(row["text"] for row in pairs)
        assert counts["yes"] == counts["no"] > 0
        for row in pairs:
            assert set(media(row)) == {"audio", "image"}
            assert (len(digits(row)) == 1) == (row["text"] == "yes")
        assert {list(media(row))[0] for row in rows(made["pairs_train"])} == {"audio", "image"}
        for row in rows(made[f"matched_{split}"]):
            assert [WORDS[digit] for digit in digits(row)] == [row["text"]]
    for row in (*rows(made["spoken_test"]), *rows(made["written_test"])):
        assert [WORDS[digit] for digit in digits(row)] == [row["text"]]


def test_splits_share_no_file(made):
    files = {
        split: {path for row in rows(made[f"pairs_{split}"]) for path in media(row).values()}
        for split in ("train", "dev", "test")
    }
    assert sum(map(len, files.values())) == len(set.union(*files.values()))


def test_text_asks_the_same(made):
    for row in rows(made["text"]):
        if row["kind"] == "pair":
            assert (row["heard"][0] == row["heard"][1]) == (row["text"] == "yes")
    assert validate(made["pairs_test"], workers=1) == []
