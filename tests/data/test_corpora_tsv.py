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


def written(folder, name, data, **options):
    """(rows, faults by line) of a table with some rows that are none."""
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    config = tsv.Config(
        corpus=str(folder / name), out=str(folder / "o"), on_error="skip", **options
    )
    rows = Manifest(config.prepare()["t"])
    skipped = folder / "o" / "skipped.txt"
    lines = skipped.read_text().split("\n")[:-1] if skipped.exists() else []
    return rows, {int(line.split(":")[1]): line.split(": ", 1)[1] for line in lines}


def test_a_quote_that_never_closes_costs_its_own_row_alone(folder):
    text = 'path,sentence\na.wav,one\nb.wav,"never closed\nclips/c.flac,"three, 3"\na.wav,four\n'
    rows, lost = written(folder, "t.csv", text)
    assert [row["text"] for row in rows] == ["one", "three, 3", "four"]
    assert list(lost) == [3] and "a quote that never closes" in lost[3]
    with pytest.raises(ValueError, match=r"t.csv:3: a quote that never closes") as caught:
        tsv.Config(corpus=str(folder / "t.csv"), out=str(folder / "o")).prepare()
    assert len(str(caught.value).split("\n")) == 2


def test_a_quote_that_closes_over_other_rows_is_found(folder):
    text = 'path,sentence\na.wav,"one\nb.wav,two\nclips/c.flac,three"\n'
    rows, lost = written(folder, "t.csv", text)
    assert [row["text"] for row in rows] == ["two", 'three"']
    assert "never closes" in lost[2] and list(lost) == [2]
    quoted = 'path,sentence\na.wav,"one,\ntwo ""2""\nthree"\n'
    rows, lost = written(folder, "t.csv", quoted)
    assert not lost and rows[0]["text"] == 'one, two "2" three'


def test_a_field_beyond_all_measure_is_one_line(folder):
    rows, lost = written(folder, "t.csv", 'path,sentence\na.wav,"' + "x" * 200_000 + "\nb.wav,b\n")
    assert rows.ids == ["b"] and list(lost) == [2]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_strange_bytes_are_named(folder, name):
    table = "path,sentence\na.wav,one\nb.wav,caf\u00e9\n"
    table = table if name == "t.csv" else table.replace(",", "\t")
    for ending in ("\n", "\r\n", "\r"):
        rows, lost = written(folder, name, "\ufeff" + table.replace("\n", ending))
        assert [row["text"] for row in rows] == ["one", "caf\u00e9"] and not lost
    with pytest.raises(ValueError, match=f"{name}:3: not UTF-8.*CP1252"):
        written(folder, name, table.encode("latin-1"))
    for code in ("utf-16", "utf-16-le"):
        with pytest.raises(ValueError, match=f"{name}: not UTF-8 but, it seems, UTF-16"):
            written(folder, name, table.encode(code))
    rows, lost = written(folder, name, table.replace("one", "o\0e"))
    assert len(rows) == 1 and "NUL" in lost[2]
    rows, lost = written(folder, name, table.replace("one", "o\u2028e"))
    assert len(rows) + len(lost) == 2, "U+2028 ends no line"


def test_two_columns_of_one_name_are_refused(folder):
    with pytest.raises(ValueError, match="t.tsv:1: two columns called 'text'"):
        prepared(folder, "t.tsv", "file\ttext\ttext\na.wav\tx\ty\n")


def test_channels_and_repeated_ids(folder):
    stereo = np.stack([np.full(16000, 0.1), np.full(16000, 0.2)], 1)
    soundfile.write(folder / "s.wav", stereo, 16000)
    text = "name\tpath\tchannel\ttext\n7\ts.wav\t0\tyes\n7\ts.wav\t1\tno\n7\ts.wav\t2\tmaybe\n"
    rows, lost = written(folder, "t.tsv", text, id_column="name")
    assert [(row["id"], row["channel"]) for row in rows] == [("7", 0), ("7-2", 1)]
    assert "channel 2 (from 0), but" in lost[4] and "has 2" in lost[4]
    rows, lost = written(folder, "t.tsv", text.replace("name", "x").replace("\t2\t", "\tleft\t"))
    assert rows.ids == ["s-ch0", "s-ch1"] and "channel is 'left'" in lost[4]
    again = "id\tpath\ttext\n7\ta.wav\tyes\n7\ta.wav\tyes\n"
    rows, lost = written(folder, "t.tsv", again)
    assert rows.ids == ["7"] and "'7' again, with the same sound" in lost[3]


def test_names_of_languages_become_codes(folder):
    text = "path\ttext\tlang\na.wav\tx\tGerman\nb.wav\ty\tpt-BR\nc\tz\tKlingon\n"
    rows, _ = written(folder, "t.tsv", text)
    assert [row["lang"] for row in rows] == ["de", "pt-BR", "Klingon"]


def test_a_header_that_is_none_stops(folder):
    with pytest.raises(ValueError, match="t.csv:1: a quote that never closes"):
        written(folder, "t.csv", 'path,"sentence\na.wav,one\nb.wav,two\n')
