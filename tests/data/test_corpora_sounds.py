"""Clotho-AQA and AudioCaps, read from trees of their published layout."""

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import audiocaps, clotho_aqa
from speechllm.data.manifest import Manifest

HEADER = "file_name,QuestionText,answer,confidence\n"


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(1600), 16000)


@pytest.fixture
def clotho(tmp_path):
    """Two files and three questions a split, three answers to each, as Zenodo's record has it."""
    folder = tmp_path / "clotho-aqa"
    lines = [
        *(f"{{s}} rain.wav,Is it raining?,{answer},yes" for answer in ("yes", "Yes", "yes")),
        *(f'{{s}} rain.wav,"What falls, and where?",{a},maybe' for a in ("rain", "water", "rain")),
        *(f"{{s}} dog.wav,How many dogs are there?,{a},no" for a in ("two", "one", "three")),
    ]
    for split in ("train", "val", "test"):
        text = HEADER + "\n".join(lines).format(s=split) + "\n"
        (folder / "audio_files").mkdir(parents=True, exist_ok=True)
        (folder / f"clotho_aqa_{split}.csv").write_text(text)
        for name in ("rain", "dog"):
            sound(folder / "audio_files" / f"{split} {name}.wav")
    return folder


def test_clotho_aqa_every_answer_trains_and_most_people_s_is_tested(clotho, tmp_path):
    paths = clotho_aqa.Config(corpus=str(clotho), out=str(tmp_path / "out")).prepare()
    rows = {name: list(Manifest(path)) for name, path in paths.items()}
    assert {name: len(part) for name, part in rows.items()} == {
        "train": 9, "dev": 3, "test": 3, "test_unanimous": 1
    }  # fmt: skip
    assert [row["text"] for row in rows["test"]] == ["yes", "rain", "two"]
    assert [row["text"] for row in rows["train"][3:6]] == ["rain", "water", "rain"]
    binary, single, differing = rows["test"]
    assert binary["kind"] == "yes_no" and binary["choices"] == ["yes", "no"]
    assert single["kind"] == "open" and "choices" not in single
    assert single["question"] == "What falls, and where?"
    assert differing["answers"] == ["two", "one", "three"]
    assert rows["test_unanimous"] == [binary]
    assert binary["audio"].endswith("audio_files/test rain.wav")
    assert binary["duration"] == pytest.approx(0.1)


def test_clotho_aqa_one_kind_alone(clotho, tmp_path):
    paths = clotho_aqa.Config(
        corpus=str(clotho), out=str(tmp_path / "out"), kind="yes_no"
    ).prepare()
    assert [len(Manifest(path)) for path in paths.values()] == [3, 1, 1, 1]
    with pytest.raises(ValueError, match="wanted 'yes_no', 'open'"):
        clotho_aqa.Config(corpus=str(clotho), out=str(tmp_path / "out"), kind="binary").prepare()


def test_clotho_aqa_faults_name_file_and_line(clotho, tmp_path):
    table = clotho / "clotho_aqa_test.csv"
    table.write_text(table.read_text() + "test rain.wav,Is it wet?,,yes\n")
    with pytest.raises(ValueError, match="clotho_aqa_test.csv:11: nothing in answer"):
        clotho_aqa.Config(corpus=str(clotho), out=str(tmp_path / "out")).prepare()
    table.write_text(table.read_text().replace("QuestionText", "question"))
    with pytest.raises(ValueError, match="no column QuestionText; it has file_name, question"):
        clotho_aqa.Config(corpus=str(clotho), out=str(tmp_path / "out")).prepare()
    table.unlink()
    with pytest.raises(ValueError, match="no such table"):
        clotho_aqa.Config(corpus=str(clotho), out=str(tmp_path / "out")).prepare()


@pytest.fixture
def captions(tmp_path):
    """Three clips a split, named in three ways; five captions each in val and test."""
    folder = tmp_path / "audiocaps"
    (folder / "dataset").mkdir(parents=True)
    for split, n in (("train", 1), ("val", 5), ("test", 5)):
        lines = ["audiocap_id,youtube_id,start_time,caption"]
        for number, video in enumerate(("r1nicOVtvkQ", "-cd_8pRNT0I", "UDGBjjwyaqE")):
            for k in range(n):
                lines.append(f'{10 * number + k},{video},{30 * number},"{split}: {video}, {k}"')
        (folder / "dataset" / f"{split}.csv").write_text("\n".join(lines) + "\n")
        sound(folder / split / "r1nicOVtvkQ_0.wav")
        sound(folder / split / "Y-cd_8pRNT0I.flac")
        sound(folder / split / "20.wav")
    return folder


def test_audiocaps_has_one_row_a_clip_with_all_its_captions(captions, tmp_path):
    paths = audiocaps.Config(corpus=str(captions), out=str(tmp_path / "out")).prepare()
    rows = {name: list(Manifest(path)) for name, path in paths.items()}
    assert {name: len(part) for name, part in rows.items()} == {"train": 3, "dev": 3, "test": 3}
    assert [row["id"] for row in rows["test"]] == [
        "r1nicOVtvkQ_0",
        "-cd_8pRNT0I_30",
        "UDGBjjwyaqE_60",
    ]
    assert rows["test"][1]["texts"] == [f"test: -cd_8pRNT0I, {k}" for k in range(5)]
    assert rows["test"][1]["text"] == "test: -cd_8pRNT0I, 0"
    assert rows["train"][0]["text"] == "train: r1nicOVtvkQ, 0" and "texts" not in rows["train"][0]
    assert rows["dev"][2]["audio"].endswith("val/20.wav")


def test_audiocaps_goes_on_without_what_is_gone(captions, tmp_path):
    (captions / "test" / "20.wav").unlink()
    with pytest.raises(ValueError, match=r"test.csv:12: no sound of UDGBjjwyaqE"):
        audiocaps.Config(corpus=str(captions), out=str(tmp_path / "out")).prepare()
    paths = audiocaps.Config(
        corpus=str(captions), out=str(tmp_path / "out"), on_error="skip"
    ).prepare()
    assert len(Manifest(paths["test"])) == 2
    assert "UDGBjjwyaqE" in (tmp_path / "out" / "skipped.txt").read_text()
