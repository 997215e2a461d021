"""Parquet files as the Hub keeps them: bytes or paths, shards, subsets, labels, faults."""

import io
import json

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import hub
from speechllm.data.corpora._ids import file_name
from speechllm.data.manifest import Manifest
from speechllm.tasks import qa, translate

pa = pytest.importorskip("pyarrow")
import pyarrow.parquet as pq  # noqa: E402


def sound(seconds, kind="FLAC"):
    file = io.BytesIO()
    wave = np.sin(np.arange(int(16000 * seconds)) / 9).astype(np.float32) * 0.3
    soundfile.write(file, wave, 16000, format=kind)
    return file.getvalue()


def rows(n, first=0):
    return [
        {
            "audio": {"bytes": sound(0.2 + 0.1 * i), "path": f"{first + i}.flac"},
            "sentence": f"text  number\n{first + i}",
            "client_id": f"s{i % 2}",
            "locale": "en",
            "label": i % 2,
        }
        for i in range(n)
    ]


def save(path, rows, labels=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if labels:
        facts = {"info": {"features": {"label": {"names": list(labels), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, path)


def test_bytes_are_unpacked_as_they_are_and_splits_joined(tmp_path):
    for k in range(2):
        save(tmp_path / f"in/data/train-0000{k}-of-00002.parquet", rows(3, 3 * k))
    save(tmp_path / "in/data/validation-00000-of-00001.parquet", rows(2))
    made = hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    assert list(made) == ["train", "validation"]
    train = Manifest(made["train"])
    assert train.ids == [f"train-{i:09d}" for i in range(6)]
    assert [row["text"] for row in train] == [f"text number {i}" for i in range(6)]
    np.testing.assert_allclose(train.durations, [0.2, 0.3, 0.4] * 2, atol=1e-4)
    assert train[4]["speaker"] == "s1" and train[4]["lang"] == "en"
    unpacked = tmp_path / "out/audio/train/train-000000001.flac"
    assert train[1]["audio"] == str(unpacked) and unpacked.read_bytes() == sound(0.3)


def test_a_second_call_leaves_the_audio_that_is_there(tmp_path):
    save(tmp_path / "in/test.parquet", rows(2))
    made = hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    audio = tmp_path / "out/audio/test/test-000000000.flac"
    before, text = audio.stat().st_mtime_ns, made["test"].read_text()
    hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    assert audio.stat().st_mtime_ns == before and made["test"].read_text() == text
    audio.write_bytes(b"cut")
    hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    assert audio.read_bytes() == sound(0.2)


def test_paths_below_the_folder(tmp_path):
    (tmp_path / "in/wav").mkdir(parents=True)
    (tmp_path / "in/wav/a.wav").write_bytes(sound(0.5, "WAV"))
    save(tmp_path / "in/train.parquet", [{"id": "x", "audio": "wav/a.wav", "text": "hello"}])
    row = Manifest(
        hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()["train"]
    )[0]
    assert row == {
        "id": "x", "audio": str(tmp_path / "in/wav/a.wav"), "duration": 0.5, "text": "hello",
        "start": 0.0,
    }  # fmt: skip
    assert not (tmp_path / "out/audio").exists()


def test_text_alone_labels_kept_columns_and_a_task(tmp_path):
    save(tmp_path / "t.parquet", [{"text": "a", "label": 1, "n": 7}], labels=["dog", "rain"])
    options = {"text_column": "label", "keep": ("n",), "task": "copy", "lang": "en"}
    made = hub.Config(
        path=str(tmp_path / "t.parquet"), out=str(tmp_path / "out"), **options
    ).prepare()
    wanted = {"id": "t-000000000", "text": "rain", "lang": "en", "task": "copy", "n": 7}
    assert Manifest(made["t"])[0] == wanted


def test_columns_of_a_translation_and_of_a_question(tmp_path):
    """What the task asks for is there, under its own names: each row can be asked."""
    asked = {"audio": {"bytes": sound(0.5), "path": None}, "text": "low", "answer": "yes"}
    save(tmp_path / "t.parquet", [asked | {"german": "tief", "ask": "is it", "any": ["yes", "no"]}])
    path, out = str(tmp_path / "t.parquet"), str(tmp_path / "out")
    options = {"keep": ("translation=german",), "lang": "en", "translation_lang": "de"}
    made = hub.Config(path=path, out=out, task="translate", **options).prepare()
    row = Manifest(made["t"])[0]
    messages = translate.Config(source="en", target="de").messages(row)
    assert messages[1]["content"] == "tief" and "German" in messages[0]["content"][1]["text"]
    options = {"text_column": "answer", "keep": ("question=ask", "choices=any"), "task": "qa"}
    row = Manifest(hub.Config(path=path, out=out, **options).prepare()["t"])[0]
    assert qa.Config().messages(row)[0]["content"][1]["text"] == "is it"
    assert row["choices"] == ["yes", "no"] and row["text"] == "yes"


def test_an_address_is_read_as_far_as_needed(tmp_path):
    """fsspec's file system in memory stands for the Hub's (hf://) and for any other."""
    fsspec = pytest.importorskip("fsspec")
    memory, root = fsspec.filesystem("memory"), f"/set{tmp_path.name}"
    for k in range(2):
        save(tmp_path / "part.parquet", [r | {"id": f"{k}{n}"} for n, r in enumerate(rows(3))])
        memory.pipe(f"{root}/train/000{k}.parquet", (tmp_path / "part.parquet").read_bytes())
    save(tmp_path / "part.parquet", [{"id": "p", "audio": {"bytes": None, "path": "a.wav"}}])
    memory.pipe(f"{root}/test/0000.parquet", (tmp_path / "part.parquet").read_bytes())
    memory.pipe(f"{root}/a.wav", sound(0.4, "WAV"))
    address, out = f"memory:/{root}", str(tmp_path / "out")
    made = hub.Config(path=address, out=out).prepare()
    assert Manifest(made["train"]).ids == ["00", "01", "02", "10", "11", "12"]
    assert Manifest(made["test"]).durations.tolist() == pytest.approx([0.4])
    memory.pipe(f"{root}/train/0001.parquet", b"PAR1 cut")
    made = hub.Config(path=address, out=out, splits=("train",), limit=2).prepare()
    assert Manifest(made["train"]).ids == ["00", "01"], "the second file is not looked at"
    with pytest.raises(ValueError, match="0001.parquet: not a whole Parquet file"):
        hub.Config(path=address, out=out, splits=("train",)).prepare()
    with pytest.raises(ValueError, match="memory://nothing: cannot be opened"):
        hub.Config(path="memory://nothing", out=out).prepare()


def test_subsets(tmp_path):
    for name in ("en", "de"):
        save(tmp_path / f"in/{name}/train/0000.parquet", rows(1))
    with pytest.raises(ValueError, match="train is in de, en; choose one with --subset"):
        hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    made = hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out"), subset="de").prepare()
    assert len(Manifest(made["train"])) == 1


def test_the_first_rows_alone(tmp_path):
    save(tmp_path / "in/train.parquet", rows(5))
    made = hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out"), limit=2).prepare()
    assert len(Manifest(made["train"])) == 2
    assert len(list((tmp_path / "out/audio/train").iterdir())) == 2


def test_faults_name_file_and_row_and_can_be_skipped(tmp_path):
    bad = rows(4)
    bad[1]["audio"] = {"bytes": b"RIFF but no sound", "path": None}
    bad[2]["audio"] = None
    save(tmp_path / "in/train.parquet", bad)
    folder, out = str(tmp_path / "in"), str(tmp_path / "out")
    with pytest.raises(ValueError, match=r"2 faults(.|\n)*train\.parquet, row 2: (.|\n)*, row 3: "):
        hub.Config(path=folder, out=out).prepare()
    assert not (tmp_path / "out/train.jsonl").exists()
    made = hub.Config(path=folder, out=out, on_error="skip").prepare()
    assert Manifest(made["train"]).ids == ["train-000000000", "train-000000003"]
    assert len((tmp_path / "out/skipped.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"splits": ("test",)}, "has no split test; it has train"),
        ({"text_column": "words"}, "has no column words; it has audio, sentence"),
        ({"keep": ("words",)}, "has no column words"),
        ({"task": "translte"}, "no task called 'translte'; did you mean 'translate'"),
        ({"lang": "english"}, "wanted its code, 'en'"),
        ({"subset": "fr"}, "no Parquet files of the subset fr"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, says):
    save(tmp_path / "in/train.parquet", rows(1))
    with pytest.raises(ValueError, match=says):
        hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out"), **options).prepare()


def test_neither_audio_nor_text_and_a_file_that_is_cut(tmp_path):
    save(tmp_path / "in/train.parquet", [{"x": 1}])
    with pytest.raises(ValueError, match="no column for audio or text among x"):
        hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()
    (tmp_path / "in/train.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out")).prepare()


def test_a_name_is_fetched_from_the_hub(tmp_path, monkeypatch):
    """The client itself is not called: nothing here needs a network."""
    asked = {}

    def fetch(id, **options):
        asked.update(options, id=id)
        save(tmp_path / "cache/en/train/0000.parquet", rows(1))
        return str(tmp_path / "cache")

    monkeypatch.setattr("speechllm.places.reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    made = hub.Config(
        path="some/set", out=str(tmp_path / "out"), subset="en", revision="r"
    ).prepare()
    assert len(Manifest(made["train"])) == 1
    assert asked["id"] == "some/set" and asked["revision"] == "r"

    def refused(*_, **__):
        raise OSError("offline\nmode")

    monkeypatch.setattr("speechllm.places.reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    with pytest.raises(ValueError, match="no/set: no such folder, and not .* the Hub: offline;"):
        hub.Config(path="no/set", out=str(tmp_path / "out")).prepare()


def tone(hz):
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(1600) * hz / 2546), 16000, format="WAV")
    return file.getvalue()


def own(ids, **more):
    return [
        {"id": id, "audio": {"bytes": tone(100 + 50 * k), "path": None}, "text": str(k)} | more
        for k, id in enumerate(ids)
    ]


def test_ids_that_a_file_name_cannot_hold_share_no_sound(tmp_path):
    ids = ["rec/1", "rec_1", "rec 1", "Rec_1", "\u00e9", "e\u0301", "con", "CON", "", "."]
    ids += ["x" * 300, "../up", "a\\b", "a.wav", "a", file_name("rec/1")]
    save(tmp_path / "in/train.parquet", own(ids))
    made = hub.Config(path=str(tmp_path / "in"), out=str(tmp_path / "out"), on_error="skip")
    opened = Manifest(made.prepare()["train"])
    assert opened.ids == [id for id in ids if id], "an empty id is refused, all others stay"
    for row in opened:
        with open(row["audio"], "rb") as file:
            assert file.read() == tone(100 + 50 * int(row["text"]))
    names = [row["audio"].rpartition("/")[2].lower() for row in opened]
    assert len(set(names)) == len(names), "also where capitals make no difference"


def test_repeated_ids_of_other_recordings_get_a_number(tmp_path):
    rows = own([903, 903, 1001, 903], language="German")
    rows.append(dict(rows[0]))
    save(tmp_path / "test.parquet", rows)
    options = {"path": str(tmp_path / "test.parquet"), "out": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="row 5: '903' again, with the same sound and text"):
        hub.Config(**options).prepare()
    made = Manifest(hub.Config(**options, on_error="skip").prepare()["test"])
    assert made.ids == ["903", "903-2", "1001", "903-3"]
    assert {row["lang"] for row in made} == {"de"}
    assert len({row["audio"] for row in made}) == 4


def test_a_column_for_ids(tmp_path):
    save(tmp_path / "t.parquet", [row | {"key": f"k{row['text']}"} for row in own("ab")])
    options = {"path": str(tmp_path / "t.parquet"), "out": str(tmp_path / "out")}
    assert Manifest(hub.Config(**options, id_column="key").prepare()["t"]).ids == ["k0", "k1"]
    with pytest.raises(ValueError, match="has no column nothing"):
        hub.Config(**options, id_column="nothing").prepare()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": ["a", "b"]}, r"row 1: 'text' is \['a', 'b'\]; wanted a text"),
        ({"text": b"raw"}, "row 1: 'text' is b'raw'; wanted a text"),
        ({"id": {"a": 1}}, "row 1: 'id' is {'a': 1}; wanted a text"),
        ({"audio": 5}, "row 1: .*no audio: wanted bytes or a path, got int"),
        ({"audio": {"bytes": "text", "path": "a.wav"}}, "row 1: .*audio of str and str"),
    ],
)
def test_columns_of_another_kind(tmp_path, change, says):
    save(tmp_path / "t.parquet", [row | change for row in own("a")])
    with pytest.raises(ValueError, match=says):
        hub.Config(path=str(tmp_path / "t.parquet"), out=str(tmp_path / "out")).prepare()


def test_what_no_manifest_holds_cannot_be_kept(tmp_path):
    values = [1.5, float("nan"), 2.0]
    rows = [row | {"more": value} for row, value in zip(own("abc"), values, strict=True)]
    save(tmp_path / "t.parquet", rows)
    options = {"path": str(tmp_path / "t.parquet"), "out": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="row 2: 'more' cannot be kept"):
        hub.Config(**options, keep=("more",)).prepare()
    with pytest.raises(ValueError, match="row 1: 'audio' cannot be kept: .*bytes"):
        hub.Config(**options, keep=("sound=audio",)).prepare()
    made = hub.Config(**options, keep=("more",), on_error="skip").prepare()
    assert [row["more"] for row in Manifest(made["t"])] == [1.5, 2.0]
