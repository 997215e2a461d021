"""CoVoST 2 in both published forms: the authors' table beside Common Voice, and splits of it."""

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import covost2
from speechllm.data.manifest import Manifest

VALIDATED = (
    "client_id\tpath\tsentence\tup_votes\n"
    'f0\tcv_1.mp3\t"Quoted, and never closed\t2\n'
    "f1\tcv_2.mp3\tGuten Tag.\t2\n"
    "f2\tcv_3.mp3\tEin Hund.\t2\n"
    "f2\tcv_4.mp3\tNicht in CoVoST.\t2\n"
)
TABLE = (
    "path\ttranslation\tsplit\n"
    'cv_1.mp3\tHe said "no"\ttrain\n'
    "cv_2.mp3\tGood day.\ttrain_covost\n"
    "cv_3.mp3\tA dog.\ttest\n"
)


@pytest.fixture
def folder(tmp_path):
    clips = tmp_path / "de" / "clips"
    clips.mkdir(parents=True)
    for k in range(1, 5):
        soundfile.write(clips / f"cv_{k}.mp3", np.full(8000, 0.1), 16000, format="MP3")
    (tmp_path / "de" / "validated.tsv").write_text(VALIDATED, "utf-8")
    (tmp_path / "de" / "covost_v2.de_en.tsv").write_text(TABLE, "utf-8")
    return tmp_path / "de"


def prepared(folder, **options):
    options = {"source": "de", "target": "en"} | options
    return covost2.Config(corpus=str(folder), out=str(folder.parent / "out"), **options).prepare()


def test_the_table_beside_common_voice(folder):
    paths = prepared(folder)
    assert sorted(paths) == ["test", "train"]
    rows = Manifest(paths["train"])
    assert rows.ids == ["cv_1", "cv_2"]
    wanted = {
        "id": "cv_2", "audio": str(folder / "clips/cv_2.mp3"), "start": 0.0, "text": "Guten Tag.",
        "speaker": "f1", "lang": "de", "translation": "Good day.", "translation_lang": "en",
    }  # fmt: skip
    assert {key: rows[1][key] for key in wanted} == wanted
    assert rows[1]["duration"] == pytest.approx(0.5, abs=0.1)
    assert rows[0]["text"] == '"Quoted, and never closed'
    assert rows[0]["translation"] == 'He said "no"'


def test_the_authors_splits(folder, tmp_path):
    tables = tmp_path / "tables"
    tables.mkdir()
    head = "path\tsentence\ttranslation\tclient_id\n"
    (tables / "covost_v2.de_zh-CN.dev.tsv").write_text(
        head + "cv_1.mp3\tHallo\t你好\tf0\n", "utf-8"
    )
    paths = prepared(folder, target="zh-CN", tables=str(tables))
    assert list(paths) == ["dev"]
    (row,) = Manifest(paths["dev"])
    assert (row["translation"], row["translation_lang"], row["speaker"]) == ("你好", "zh-CN", "f0")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "en", "target": "de"}, "source and target are swapped"),
        ({"target": "de"}, "source and target are one language, 'de'"),
        ({"target": "fr"}, "neither covost_v2.de_fr.tsv nor covost_v2.de_fr.train.tsv.*--tables"),
        ({"target": "xx"}, "no language has the code 'xx'"),
    ],
)
def test_languages_that_are_not_there(folder, options, says):
    with pytest.raises(ValueError, match=says):
        prepared(folder, **options)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cv_3.mp3\tA dog.\ttest", "cv_9.mp3\tA dog.\ttest", r"tsv:4: cv_9.mp3 is not in .*valid"),
        ("A dog.\ttest", "A dog.\ttset", "tsv:4: split is 'tset'; wanted one of train, dev, test"),
        ("A dog.", " ", "tsv:4: cv_3.mp3 has no translation"),
        ("A dog.\ttest", "A dog.", "tsv:4: 2 columns, but the first line has 3"),
        ("translation\tsplit", "target\tsplit", "tsv:1: no column translation; it has path, targ"),
    ],
)
def test_faults_name_file_and_line(folder, old, new, says):
    (folder / "covost_v2.de_en.tsv").write_text(TABLE.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=says):
        prepared(folder)


def test_missing_files(folder):
    (folder / "clips" / "cv_3.mp3").unlink()
    with pytest.raises(ValueError, match=r"tsv:4: .*cv_3.mp3"):
        prepared(folder)
    (folder / "covost_v2.de_en.tsv").write_text(TABLE.replace("test", "train"), "utf-8")
    paths = prepared(folder, on_error="skip")
    assert Manifest(paths["train"]).ids == ["cv_1", "cv_2"]
