"""FSDD: the official split, strings within a speaker and split, leaving one speaker out."""

import hashlib

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import fsdd
from speechllm.data.manifest import Manifest

SPEAKERS = ("ann", "bob", "van_eyck")


@pytest.fixture
def corpus(tmp_path):
    """Each recording is a constant that says which it is: digit * 100 + index, over 2000."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in range(7):
                wave = np.full(400, (digit * 100 + index + 1) / 2000)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    return tmp_path / "fsdd"


def test_official_split(corpus, tmp_path):
    paths = fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out"), n_dev=1).prepare()
    official = {name: Manifest(paths[f"official/{name}"]) for name in ("train", "dev", "test")}
    assert {name: len(rows) for name, rows in official.items()} == {
        "train": 3 * 10 * 1,
        "dev": 3 * 10 * 1,
        "test": 3 * 10 * 5,
    }
    assert {int(id.rpartition("_")[2]) for id in official["test"].ids} == {0, 1, 2, 3, 4}
    row = official["train"][official["train"].find("7_van_eyck_6")]
    assert row["text"] == "seven" and row["speaker"] == "van_eyck"
    assert row["duration"] == pytest.approx(0.05)


def test_strings_stay_within_speaker_and_split(corpus, tmp_path):
    paths = fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out"), passes=2).prepare()
    for split, indices in (("train", {5, 6}), ("test", {0, 1, 2, 3, 4})):
        rows = Manifest(paths[f"official/strings_{split}"])
        assert {row["speaker"] for row in rows} == set(SPEAKERS)
        for row in rows:
            wave, rate = soundfile.read(row["audio"])
            assert rate == 8000 and len(wave) == round(row["duration"] * 8000)
            values = np.round(wave * 2000).astype(int) - 1
            steps = np.flatnonzero(np.diff(values)) + 1
            heard = [part[0] for part in np.split(values, steps) if part[0] >= 0]
            assert row["text"] == " ".join(fsdd.WORDS[value // 100] for value in heard)
            assert {int(value % 100) for value in heard} <= indices
            assert len(heard) <= 7


def test_string_lengths(corpus, tmp_path):
    paths = fsdd.Config(
        corpus=str(corpus), out=str(tmp_path / "out"), min_digits=2, max_digits=4
    ).prepare()
    sizes = {len(row["text"].split()) for row in Manifest(paths["official/strings_train"])}
    assert sizes == {2, 3, 4}
    with pytest.raises(ValueError, match="min_digits"):
        fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out"), min_digits=8).prepare()


def test_leave_one_speaker_out(corpus, tmp_path):
    paths = fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out")).prepare()
    for speaker in SPEAKERS:
        for prefix in ("", "strings_"):
            train = Manifest(paths[f"loso_{speaker}/{prefix}train"])
            test = Manifest(paths[f"loso_{speaker}/{prefix}test"])
            assert {row["speaker"] for row in test} == {speaker}
            assert {row["speaker"] for row in train} == set(SPEAKERS) - {speaker}
        assert len(Manifest(paths[f"loso_{speaker}/test"])) == 70
        assert len(Manifest(paths[f"loso_{speaker}/train"])) == 140


def test_same_bytes_again(corpus, tmp_path):
    digests = []
    for _ in range(2):
        fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out")).prepare()
        files = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]


def test_faults(corpus, tmp_path):
    (corpus / "recordings" / "notes.wav").write_bytes(b"")
    (corpus / "recordings" / "3_ann_2.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="2 faults") as caught:
        fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out")).prepare()
    assert "notes.wav: is not named" in str(caught.value) and "3_ann_2.wav" in str(caught.value)
    paths = fsdd.Config(corpus=str(corpus), out=str(tmp_path / "out"), on_error="skip").prepare()
    assert len(Manifest(paths["official/test"])) == 149
    with pytest.raises(ValueError, match="no <digit>"):
        fsdd.Config(corpus=str(tmp_path), out=str(tmp_path / "out")).prepare()


def test_real_recordings(real_data, tmp_path):
    paths = fsdd.Config(corpus=str(real_data / "fsdd"), out=str(tmp_path), passes=1).prepare()
    assert len(Manifest(paths["official/train"])) == 2700
    assert len(Manifest(paths["official/test"])) == 300
    assert sum(name.startswith("loso_") for name in paths) == 6 * 4
    strings = Manifest(paths["official/strings_test"])
    assert 50 <= len(strings) <= 100 and 0.5 < np.median(strings.durations) < 5
