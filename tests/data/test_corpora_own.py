"""Data of one's own: a folder of sounds and texts, and the lists of other toolkits."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import folder, lhotse, nemo, slam_llm
from speechllm.data.manifest import Manifest


@pytest.fixture
def sounds(tmp_path):
    home = tmp_path / "in"
    (home / "wav").mkdir(parents=True)
    for name, n in {"a": 16000, "b": 8000, "c": 24000}.items():
        soundfile.write(home / "wav" / f"{name}.wav", np.full(n, 0.1), 16000)
    soundfile.write(home / "wav" / "s.wav", np.full((16000, 2), 0.1), 16000)
    return home


def write(path, rows):
    lines = "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    data = lines.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def prepared(corpus, path, out, **options):
    """(rows, what was skipped by line) of a list with some rows that are none."""
    config = corpus.Config(corpus=path, out=str(out), on_error="skip", **options)
    (made,) = config.prepare().values()
    skipped = out / "skipped.txt"
    lines = skipped.read_text().split("\n")[:-1] if skipped.exists() else []
    return Manifest(made), [line.split("/")[-1] for line in lines]


def test_nemo(sounds, tmp_path):
    path = write(
        sounds / "train.json",
        [
            "\ufeff" + json.dumps({"audio_filepath": "wav/a.wav", "text": "one"}) + "\n",
            {"audio_filepath": "wav/c.wav", "offset": 0.5, "duration": 0.25, "text": "two",
             "lang": "German"},
            {"audio_filepath": str(sounds / "wav/b.wav"), "text": "three\x07"},
            {"audio_filepath": "wav/b.wav", "duration": None, "text": "three\u2028 4"}
            | {"speaker": 7},
            {"audio_filepath": "wav/gone.wav", "duration": 1, "text": "x"},
            {"audio_filepath": "wav/a.wav", "duration": 3.0, "text": "too long"},
            {"audio_filepath": "wav/a.wav", "duration": "1.0", "text": "a text"},
            {"text": "no sound"},
            "not json\n",
            "[1]\n",
            {"audio_filepath": "wav/a.wav", "duration": 1, "source_lang": "en", "target_lang": "de",
             "text": "eins", "taskname": "ast"},
        ],
    )  # fmt: skip
    rows, lost = prepared(nemo, path, tmp_path / "out", lang="en")
    assert rows.ids[1:3] == ["wav-c-00000500", "wav-b"]
    assert [(row["start"], row["duration"], row["lang"]) for row in rows] == [
        (0.0, 1.0, "en"), (0.5, 0.25, "de"), (0.0, 0.5, "en"), (0.0, 1.0, "en"),
    ]  # fmt: skip
    assert rows[2]["speaker"] == "7" and rows[2]["text"] == "three 4"
    assert rows[3]["translation"] == "eins" and "text" not in rows[3]
    lines = (tmp_path / "out/skipped.txt").read_text().split("\n")[:-1]
    assert [int(line.split(":")[1]) for line in lines] == [3, 5, 6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match="7 faults"):
        nemo.Config(corpus=path, out=str(tmp_path / "x")).prepare()


def test_slam_llm(sounds, tmp_path):
    path = write(
        sounds / "t.jsonl",
        [
            {"key": "k1_ASR", "source": "wav/a.wav", "target": "ONE"},
            {"key": "k1_ASR", "source": "wav/b.wav", "target": "TWO", "prompt": "What is said?"},
            {"key": "k1_ASR", "source": "wav/b.wav", "target": "TWO"},
            {"key": 5, "source": "wav/c.wav", "target": "THREE"},
            {"key": "k4", "source": "raw.ark:1234", "target": "X"},
            {"key": "k5", "target": "X"},
        ],
    )
    rows, lost = prepared(slam_llm, path, tmp_path / "out", lang="English")
    assert rows.ids == ["k1_ASR", "k1_ASR-2", "5"] and rows[1]["question"] == "What is said?"
    assert list(rows.durations) == [1.0, 0.5, 1.5] and {row["lang"] for row in rows} == {"en"}
    assert sorted(line.split(": ")[0] for line in lost) == ["t.jsonl:3", "t.jsonl:5", "t.jsonl:6"]


def cut(id, start=0.0, duration=1.0, file="wav/a.wav", spoken=None, channels=(0,), **more):
    source = {"type": "file", "channels": list(channels), "source": file}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 1}
    spoken = spoken or [
        {"id": f"{id}-sup", "start": 0.0, "duration": duration, "text": f"text {id}"}
    ]
    made = {"id": id, "start": start, "duration": duration, "channel": 0, "type": "MonoCut"}
    return made | {"recording": recording, "supervisions": spoken} | more


def test_lhotse(sounds, tmp_path):
    two = [
        {
            "id": "s1",
            "start": 0.0,
            "duration": 0.5,
            "text": "one",
            "speaker": "x",
            "language": "English",
        },
        {"id": "s2", "start": 0.5, "duration": 0.25, "text": "two", "channel": 1},
    ]
    path = write(
        sounds / "cuts.jsonl.gz",
        [
            cut("c1", start=0.25, duration=0.5),
            cut("c2", file=str(sounds / "wav/s.wav"), spoken=two, channels=(0, 1), start=0.125),
            cut("c3", spoken=[{"id": "s", "start": 0.8, "duration": 0.5, "text": "outside"}]),
            cut("c4", type="MixedCut"),
            {**cut("c5"), "recording": None},
            cut("c6") | {"recording": {"sources": [], "transforms": [{"name": "Speed"}]}},
            cut("c7", channel=3),
            {"id": "r", "sources": [], "duration": 1.0},
            cut("c1", start=0.5, duration=0.5),
        ],
    )  # fmt: skip
    rows, lost = prepared(lhotse, path, tmp_path / "out")
    assert rows.ids == ["c1", "s1", "s2", "c1-2"]
    assert [(row["start"], row["duration"], row.get("channel")) for row in rows] == [
        (0.25, 0.5, None), (0.125, 0.5, 0), (0.625, 0.25, 1), (0.5, 0.5, None),
    ]  # fmt: skip
    assert rows[1]["lang"] == "en" and rows[1]["speaker"] == "x"
    assert [line.split(": ")[0] for line in lost] == [f"cuts.jsonl.gz:{n}" for n in range(3, 9)]
    whole = (sounds / "cuts.jsonl.gz").read_bytes()
    (sounds / "cuts.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="no whole gzip file"):
        prepared(lhotse, path, tmp_path / "out")


def test_a_folder_of_sounds_and_texts(sounds, tmp_path):
    home = tmp_path / "data"
    for split in ("train", "test"):
        (home / split).mkdir(parents=True)
        (home / split / "ann").symlink_to(sounds / "wav")
    for name in ("a", "b", "lost"):
        (sounds / "wav" / f"{name}.txt").write_text(f"\ufeffsaid  {name}\n\nagain\r\n")
    (sounds / "wav" / "c.lab").write_bytes(b"caf\xe9")
    made = folder.Config(
        corpus=str(home), out=str(tmp_path / "out"), splits=("train", "test"), speakers=True,
        lang="en", on_error="skip",
    ).prepare()  # fmt: skip
    assert list(made) == ["train", "test"]
    rows = Manifest(made["train"])
    assert rows.ids == ["ann-a", "ann-b"] and list(rows.durations) == [1.0, 0.5]
    assert rows[0]["text"] == "said  a again" and rows[0]["speaker"] == "ann"
    lost = (tmp_path / "out/skipped.txt").read_text()
    assert "c.lab:1: not UTF-8" in lost and "s.wav: no text for it" in lost
    assert "lost.txt: a text without a sound" in lost
    with pytest.raises(ValueError, match="no folder dev in it; there are test, train"):
        folder.Config(corpus=str(home), splits=("dev",)).prepare()


def test_two_files_of_one_name_keep_their_suffixes(tmp_path):
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, np.full(1600, 0.1), 16000)
    (tmp_path / "a.txt").write_text("x")
    made = folder.Config(corpus=str(tmp_path), out=str(tmp_path / "out")).prepare()
    assert sorted(Manifest(made[tmp_path.name]).ids) == ["a.flac", "a.wav"]


def test_the_order_is_that_of_the_list_and_ids_stay(sounds, tmp_path):
    rows = [{"audio_filepath": f"wav/{name}.wav", "text": name} for name in "cab"]
    path = write(sounds / "t.json", rows)
    ids = [prepared(nemo, path, tmp_path / str(k))[0].ids for k in range(2)]
    assert ids[0] == ids[1] == ["wav-c", "wav-a", "wav-b"]
