"""ESC-10: published folds kept apart, questions that are true, balanced, each split's own."""

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllm.data import chat
from speechllm.data.corpora import _questions, _spoken, esc10
from speechllm.data.manifest import Manifest

PER_FOLD = 4
ANIMALS = [name for name, _ in esc10.NAMES.values()]


def write_table(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["filename", "fold", "target", "category", "esc10"])
        writer.writeheader()
        writer.writerows(rows)


def rows_of(folder: Path) -> list[dict]:
    """Write four short clips of each class and fold; the rows of their table."""
    (folder / "audio").mkdir(parents=True)
    rows = []
    for fold in range(1, 6):
        for target, category in enumerate(esc10.NAMES):
            for take in range(PER_FOLD):
                name = f"{fold}-{take}-{category}.wav"
                soundfile.write(folder / "audio" / name, np.zeros(800), 16000)
                row = {"filename": name, "fold": fold, "target": target, "category": category}
                rows.append({**row, "esc10": "True"})
    return rows


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "esc10"
    write_table(folder / "esc10.csv", rows_of(folder))
    return folder


@pytest.fixture
def made(corpus, tmp_path):
    return esc10.Config(
        corpus=str(corpus), out=str(tmp_path / "out"), folds=(2, 5), n_text=1200
    ).prepare()


def sounds(row: dict) -> list[str]:
    """Files of a row's sounds, in order."""
    return (
        [p["audio"] for p in chat.media(row["messages"])] if "messages" in row else [row["audio"]]
    )


def names(row: dict) -> list[str]:
    """What a row's sounds are, by the names of their files (or as a text row says)."""
    if "heard" in row:
        return row["heard"]
    return [esc10.NAMES[Path(file).stem.split("-")[2]][0] for file in sounds(row)]


def question(row: dict) -> str:
    return row["messages"][0]["content"][-1]["text"] if "messages" in row else row["question"]


def test_each_published_fold_is_a_test_and_the_next_one_dev(made):
    for fold, dev in ((2, 3), (5, 1)):
        folds = {}
        for split in esc10.SPLITS:
            rows = Manifest(made[f"fold{fold}/{split}"])
            folds[split] = {Path(row["audio"]).name[0] for row in rows}
            asked = {Path(f).name[0] for row in Manifest(made[f"fold{fold}/questions_{split}"])
                     for f in sounds(row)}  # fmt: skip
            assert asked == folds[split]
            assert all(names(row) == [row["text"]] for row in rows)
        assert folds["test"] == {str(fold)} and folds["dev"] == {str(dev)}
        assert folds["train"] == set("12345") - folds["test"] - folds["dev"]
    assert set(made) == {
        *(f"fold{k}/{q}{s}" for k in (2, 5) for q in ("", "questions_") for s in esc10.SPLITS),
        *("text", "text_dev"),
    }


def truth(row: dict) -> str:
    """Answer a question from the names of its sounds, by other means than the corpus does."""
    heard, words = names(row), question(row).split()
    asked = [word for word in words if word in ANIMALS]
    return {
        "class": lambda: heard[0],
        "yes_no": lambda: "yes" if asked == heard else "no",
        "choice": lambda: next(word for word in asked if word == heard[0]),
        "same": lambda: "yes" if heard[0] == heard[1] else "no",
        "order": lambda: heard[1 if "second" in words else 0],
        "count": lambda: ("zero", "one", "two")[heard.count(asked[0])],
    }[row["kind"]]()


@pytest.mark.parametrize("name", ["fold2/questions_train", "fold5/questions_test", "text"])
def test_every_answer_is_true_and_among_the_choices(made, name):
    rows = list(Manifest(made[name]))
    assert {row["kind"] for row in rows} == set(_questions.KINDS)
    for row in rows:
        assert row["text"] == truth(row), row
        assert row["text"] in row["choices"]
        if row["kind"] in _questions.PAIRS:
            assert len(names(row)) == 2
            assert "heard" in row or len(set(sounds(row))) == 2, row


@pytest.mark.parametrize("name", ["fold2/questions_train", "fold5/questions_test", "text"])
def test_no_constant_answer_scores(made, name):
    """Each answer of a kind is as frequent as another, within a twentieth."""
    rows = list(Manifest(made[name]))
    for kind in _questions.KINDS:
        answers = Counter(row["text"] for row in rows if row["kind"] == kind)
        fair = sum(answers.values()) / len(answers)
        assert max(answers.values()) <= 1.05 * fair + 1, (kind, answers)
    positions = Counter(
        row["choices"].index(row["text"]) for row in rows if row["kind"] == "choice"
    )
    assert set(positions) == {0, 1, 2, 3} and max(positions.values()) < 0.3 * positions.total()
    # nor does the name that is asked for say the answer
    for word in ANIMALS:
        asked = [row for row in rows if row["kind"] == "yes_no" and word in question(row).split()]
        share = np.mean([row["text"] == "yes" for row in asked])
        assert 0.2 < share < 0.8, (word, share)


def test_questions_of_test_have_forms_of_their_own_but_no_new_words(made):
    texts = {
        split: {question(row) for row in Manifest(made[f"fold2/questions_{split}"])}
        for split in esc10.SPLITS
    }
    texts["text"] = {question(row) for row in Manifest(made["text"])}
    for a, b in (("train", "test"), ("train", "dev"), ("dev", "test"), ("text", "test")):
        assert not texts[a] & texts[b]
    known = {word for text in texts["text"] for word in text.split()}
    for split in esc10.SPLITS:
        assert {word for text in texts[split] for word in text.split()} <= known


def test_same_bytes_again(corpus, tmp_path):
    digests = []
    for _ in range(2):
        paths = esc10.Config(
            corpus=str(corpus), out=str(tmp_path / "out"), folds=(1,), n_text=60
        ).prepare()
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths.values()])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("folds,says", [((6,), "no fold 6; wanted some of 1, 2"), ((), "no fold")])
def test_a_fold_that_does_not_exist_is_refused(corpus, tmp_path, folds, says):
    with pytest.raises(ValueError, match=says):
        esc10.Config(corpus=str(corpus), out=str(tmp_path / "out"), folds=folds).prepare()


def test_faults_name_their_line(corpus, tmp_path):
    rows = list(csv.DictReader(open(corpus / "esc10.csv")))
    rows[0]["category"] = "cat"
    rows[41]["fold"] = "7"
    rows[82]["filename"] = "gone.wav"
    write_table(corpus / "esc10.csv", rows)
    with pytest.raises(ValueError, match="3 faults") as caught:
        esc10.Config(corpus=str(corpus), out=str(tmp_path / "out")).prepare()
    for wanted in ("esc10.csv:2: category 'cat'", "esc10.csv:43: fold '7'", "gone.wav"):
        assert wanted in str(caught.value)
    paths = esc10.Config(
        corpus=str(corpus), out=str(tmp_path / "out"), on_error="skip", n_text=6
    ).prepare()
    assert sum(len(Manifest(paths[f"fold{k}/test"])) for k in range(1, 6)) == 200 - 3


def test_a_class_of_one_clip_cannot_be_compared(corpus, tmp_path):
    rows = list(csv.DictReader(open(corpus / "esc10.csv")))
    write_table(corpus / "esc10.csv", rows[PER_FOLD - 1 :])
    with pytest.raises(ValueError, match="fold 1: one clip of dog alone"):
        esc10.Config(corpus=str(corpus), out=str(tmp_path / "out"), folds=(1,)).prepare()


def test_the_table_of_esc50_serves_too(tmp_path):
    folder = tmp_path / "ESC-50-master"
    rows = rows_of(folder)
    other = {"filename": "1-cat.wav", "fold": 1, "target": 5, "category": "cat", "esc10": "False"}
    write_table(folder / "meta" / "esc50.csv", [*rows, other])
    paths = esc10.Config(
        corpus=str(folder), out=str(tmp_path / "out"), folds=(1,), n_text=6
    ).prepare()
    assert len(Manifest(paths["fold1/test"])) == 40
    with pytest.raises(ValueError, match="no esc10.csv"):
        esc10.Config(corpus=str(tmp_path), out=str(tmp_path / "out")).prepare()


def test_spoken_questions_ask_about_sounds_of_their_fold(corpus, tmp_path, monkeypatch):
    """In voices of their split; the question is marked, so that it is never shuffled away."""
    monkeypatch.setattr(_spoken, "SIZES", {"train": 40, "dev": 20, "test": 20})
    monkeypatch.setattr(_spoken, "SHARDS", {"train": 1, "dev": 1, "test": 1})
    options = {"folds": (1,), "n_text": 6, "spoken": True}
    paths = esc10.Config(corpus=str(corpus), out=str(tmp_path / "out"), **options).prepare()
    speakers = {}
    for split, fold in (("train", "345"), ("dev", "2"), ("test", "1")):
        words = {row["audio"]: row for row in Manifest(paths[f"fold1/words_{split}"])}
        rows = list(Manifest(paths[f"fold1/spoken_{split}"]))
        assert len(rows) == len(words) and Counter(r["text"] for r in rows)["yes"] == len(rows) / 2
        for row in rows:
            sound, asked = chat.media(row["messages"])
            assert asked["asks"] and "asks" not in sound
            assert Path(sound["audio"]).name[0] in fold
            name = esc10.NAMES[Path(sound["audio"]).stem.split("-")[2]][0]
            said = words[asked["audio"]]
            assert row["text"] == ("yes" if name == said["text"] else "no")
            assert esc10.CALLED[said["text"]] in said["transcript"]
            assert row["duration"] == pytest.approx(sound["duration"] + asked["duration"])
        speakers[split] = {row["speaker"] for row in rows}
    assert not speakers["train"] & speakers["test"] and not speakers["dev"] & speakers["test"]


def test_real_recordings(real_data, tmp_path):
    paths = esc10.Config(corpus=str(real_data / "esc10"), out=str(tmp_path), n_text=60).prepare()
    sizes = [len(Manifest(paths[f"fold{fold}/test"])) for fold in range(1, 6)]
    assert sizes == [79, 79, 80, 80, 80]
    asked = Manifest(paths["fold1/questions_test"])
    assert len(asked) == 79 * 6 * 2 and {row["text"] for row in asked} > {"yes", "zero", "dog"}
