"""Tables: column names, delimiters, quotes, times, Common Voice's layout."""

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import tsv
from speechllm.data.manifest import Manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav", "clips/c.flac"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(16000, 0.1), 16000)
    return tmp_path / "corpus"


def prepared(folder, name, text, **options):
    (folder / name).write_text(text)
    paths = tsv.Config(corpus=str(folder / name), out=str(folder / "out"), **options).prepare()
    return Manifest(paths[(folder / name).stem])


def test_table(folder):
    text = "audio\ttext\tspeaker\na.wav\thello\tann\nb.wav\tgood bye\t\n"
    rows = prepared(folder, "train.tsv", text, lang="en")
    audio = str(folder / "a.wav")
    assert rows[0] == {
        "id": "a", "audio": audio, "start": 0.0, "text": "hello",
        "speaker": "ann", "lang": "en", "duration": 1.0,
    }  # fmt: skip
    assert "speaker" not in rows[1]


def test_common_voice(folder):
    text = (
        "client_id\tpath\tsentence\tup_votes\tlocale\n"
        'f00\tc\t"Quoted, and never closed\t2\tde\n'
        'f00\ta.wav\t"He said ""yes"" twice"\t2\tde\n'
    )
    rows = prepared(folder, "validated.tsv", text)
    assert rows[0]["audio"] == str(folder / "clips" / "c.flac")
    assert rows[0]["text"] == '"Quoted, and never closed' and rows[0]["lang"] == "de"
    assert rows[1]["text"] == 'He said "yes" twice' and rows[1]["speaker"] == "f00"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv_with_quotes_and_a_byte_order_mark(folder, delimiter):
    text = f'\ufefffile{delimiter}transcript\na.wav{delimiter}"one, two; three"\n'
    assert prepared(folder, "t.csv", text)[0]["text"] == "one, two; three"


def test_times(folder):
    text = "file\ttext\tstart\tend\na.wav\tone\t0\t0.25\na.wav\ttwo\t0.25\t\n"
    rows = prepared(folder, "t.tsv", text)
    assert rows.ids == ["a-00000000", "a-00000250"]
    assert [(row["start"], row["duration"]) for row in rows] == [(0.0, 0.25), (0.25, 0.75)]


def test_a_shared_stem_keeps_its_suffix(folder):
    soundfile.write(folder / "a.flac", np.full(1600, 0.1), 16000)
    rows = prepared(folder, "t.tsv", "file\ttext\na.wav\tx\na.flac\ty\nb.wav\tz\n")
    assert rows.ids == ["a.wav", "a.flac", "b"]


def test_columns_and_folder_by_option(folder):
    text = "clip,words\nc.flac,hello\n"
    (folder / "clips").rename(folder / "other")
    with pytest.raises(ValueError, match=r"t.csv:1: no column for audio.*--audio-column"):
        prepared(folder, "t.csv", text)
    options = {"audio_column": "clip", "text_column": "words"}
    with pytest.raises(ValueError, match=r"t.csv:2: c.flac: no such file.*--audio-dir"):
        prepared(folder, "t.csv", text, **options)
    rows = prepared(folder, "t.csv", text, audio_dir=str(folder / "other"), **options)
    assert rows.ids == ["c"]


def test_a_folder_of_tables_leaves_out_other_lists(folder):
    (folder / "train.tsv").write_text("path\tsentence\na.wav\thello\n")
    (folder / "test.tsv").write_text("path\tsentence\nb.wav\tgood bye\n")
    (folder / "reported.tsv").write_text("reason\tdate\nnoise\ttoday\n")
    paths = tsv.Config(corpus=str(folder), out=str(folder / "out")).prepare()
    assert sorted(paths) == ["test", "train"]


@pytest.mark.parametrize(
    "line,message",
    [
        ("a.wav\thello\textra\t1", "t.tsv:2: 4 columns, but the first line has 3"),
        ("\thello\t0", "t.tsv:2: no audio file is named"),
        ("a.wav\t \t0", "t.tsv:2: .*has no words"),
        ("a.wav\thello\tsoon", "t.tsv:2: start is 'soon'"),
        ("a.wav\thello\t2", "t.tsv:2: start 2.0 s is past the end"),
        ("a.wav\thel\x07lo\t0", r"t.tsv:2: .*U\+0007"),
    ],
)
def test_faults_name_file_and_line(folder, line, message):
    with pytest.raises(ValueError, match=message):
        prepared(folder, "t.tsv", f"file\ttext\tstart\n{line}\n")


def test_empty_table(folder):
    with pytest.raises(ValueError, match="no column for audio: .*got nothing"):
        prepared(folder, "t.tsv", "")
    with pytest.raises(ValueError, match="t: no utterance is left of 0"):
        prepared(folder, "t.tsv", "file\ttext\n")


def test_real_table(real_data, tmp_path):
    table = real_data / "misc_audio" / "manifest.tsv"
    with pytest.raises(ValueError, match="aeneas_mono.zero.wav: it holds no samples"):
        tsv.Config(corpus=str(table), out=str(tmp_path)).prepare()
    rows = Manifest(
        tsv.Config(corpus=str(table), out=str(tmp_path), on_error="skip").prepare()["manifest"]
    )
    assert len(rows) > 50 and "formats-jfk_16k" in rows.ids
    skipped = (tmp_path / "skipped.txt").read_text()
    assert "lyra_invalid.wav: libsndfile cannot read it" in skipped
