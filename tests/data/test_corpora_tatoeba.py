"""Spoken sentence pairs: what is held out, which pairs come first, both directions, the cascade."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import _pairs, tatoeba, transcripts
from speechllm.data.corpora._cast import VOICES
from speechllm.data.corpora._pairs import Pair
from speechllm.data.manifest import Manifest, write

EN = "I you we they".split(), "see hear like know".split(), "Tom you them him".split()
DE = "Ich Du Wir Sie".split(), "sehen hören mögen kennen".split(), "Tom dich sie ihn".split()
SMALL = {
    "hours": 0.004,
    "n_dev": 4,
    "n_test": 6,
    "n_pairs": 50,
    "n_text": 60,
    "seed": 3,
    "workers": 1,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Table of 64 simple pairs and of some that nobody can say, gzip."""
    places = [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]
    lines = [
        "\t".join(
            f"{side[0][a]} {side[1][b]} {side[2][c]}{mark}" for side, mark in ((EN, "."), (DE, "!"))
        )
        for a, b, c in places
    ]
    lines += ["It's 3 o'clock.\tEs ist 3 Uhr.", "See www.x.de\tSieh www.x.de\tCC-BY", lines[0]]
    path = tmp_path_factory.mktemp("table") / "en-de.tsv.gz"
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    return path


@pytest.fixture(scope="module")
def corpus(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("tatoeba")
    return out, tatoeba.Config(corpus=str(table), out=str(out), source="deu", **SMALL).prepare()


def test_what_is_written(corpus):
    _, paths = corpus
    opened = {name: list(Manifest(path)) for name, path in paths.items()}
    assert list(opened) == ["train", "dev", "test", "text", "text_dev"]
    assert [len(opened[name]) for name in ("dev", "test", "text_dev")] == [4, 6, 4]
    for row in [*opened["train"], *opened["dev"], *opened["test"]]:
        wave, rate = soundfile.read(row["audio"], dtype="float32")
        assert rate == 16000 and len(wave) == round(row["duration"] * rate)
        assert row["text"] == _pairs.said(row["text"]) and row["translation"].endswith(".")
        assert (row["lang"], row["translation_lang"], row["accent"]) == ("de", "en", "de")
    assert len(opened["text"]) > len({row["text"] for row in opened["train"]})
    assert "audio" not in opened["text"][0] and opened["text"][0]["lang"] == "de"


def test_voices_and_sentences_of_dev_and_test_are_unheard(corpus):
    _, paths = corpus
    opened = {name: list(Manifest(path)) for name, path in paths.items()}
    for held in ("dev", "test"):
        assert {row["speaker"] for row in opened[held]} <= set(VOICES[held])
        for name in opened.keys() - {held, f"text_{held}"}:
            for key in ("text", "translation"):
                there = {_pairs.said(row[key]) for row in opened[name]}
                assert there.isdisjoint(_pairs.said(row[key]) for row in opened[held])


def test_a_complete_corpus_is_left_alone(corpus, table):
    out, paths = corpus
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert tatoeba.Config(corpus=str(table), out=str(out), source="deu", **SMALL).prepare() == paths
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_a_held_out_translation_leaves_with_all_its_sources():
    name = "abcdefghijklmnopqrstuvwxyzäöüßàáâãçèéêëìí"
    pairs = [Pair(f"S{name[k]}.", f"T{name[k // 2]}!") for k in range(40)]
    sets = _pairs.hold_out(pairs, {"dev": 5, "test": 5}, np.random.default_rng(0))
    left = _pairs.without(pairs, list(sets.values()))
    targets = {p.target for part in sets.values() for p in part}
    assert len(targets) == 10 and len(left) == 40 - 20
    assert not targets & {p.target for p in left}


def test_simple_pairs_come_first():
    pairs = [Pair("a rare one", "x"), Pair("a b", "x x"), Pair("b a", "x"), Pair("a", "odd")]
    assert _pairs.simplest(pairs, 2) == pairs[1:3]
    assert len(_pairs.simplest(pairs, 0)) == 4


def test_reading(table, tmp_path):
    pairs = _pairs.read(table, 0, 1)
    assert len(pairs) == 64 and pairs[0] == Pair("I see Tom.", "Ich sehen Tom!")
    assert _pairs.read(table, 1, 0)[0] == Pair("Ich sehen Tom!", "I see Tom.")
    assert _pairs.said("Don’t GO, Ärger!") == "don't go ärger"
    (tmp_path / "t.tsv").write_text("one\ttwo\nno tab\n")
    with pytest.raises(ValueError, match=r"t.tsv:2: wanted two sentences with a tab"):
        _pairs.read(tmp_path / "t.tsv", 0, 1)
    (tmp_path / "u.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="wanted a TSV file in UTF-8"):
        _pairs.read(tmp_path / "u.tsv", 0, 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "fr"}, "source is 'fr', but the columns are en and de"),
        ({"columns": ("en", "eng")}, "columns: wanted two languages"),
        ({"columns": ("en", "xx")}, "no language has the code 'xx'"),
        ({"hours": 0.0}, "wanted hours"),
        ({"n_pairs": 0}, "wanted hours, n_pairs"),
        ({"n_test": 70}, "no pairs are left"),
    ],
)
def test_options_that_make_no_sense(table, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        tatoeba.Config(corpus=str(table), out=str(tmp_path), **{**SMALL, **options}).prepare()
    assert not list(tmp_path.iterdir())


def test_transcripts_take_the_place_of_the_audio(tmp_path):
    rows = [
        {"id": str(k), "audio": "a.wav", "duration": 1.0, "text": "said", "lang": "en",
         "translation": "gesagt", "translation_lang": "de"} for k in range(2)
    ]  # fmt: skip
    write(tmp_path / "test.jsonl", rows)
    hyp = tmp_path / "decode" / "hyp.jsonl"
    hyp.parent.mkdir()
    hyp.write_text(json.dumps({"id": "1", "hyp": "sad"}) + "\n")
    given = {"corpus": str(hyp.parent), "references": str(tmp_path / "test.jsonl")}
    with pytest.raises(ValueError, match="nothing recognised for 1 of .*, as 0"):
        transcripts.Config(out=str(tmp_path / "out"), **given).prepare()
    hyp.write_text(hyp.read_text() + json.dumps({"id": "0", "hyp": ""}) + "\n")
    found = Manifest(transcripts.Config(out=str(tmp_path / "out"), **given).prepare()["test"])
    languages = {"lang": "en", "translation": "gesagt", "translation_lang": "de"}
    assert list(found) == [
        {"id": "0", "text": "", **languages},
        {"id": "1", "text": "sad", **languages},
    ]
    said = transcripts.Config(references=given["references"], out=str(tmp_path / "said")).prepare()
    assert [row["text"] for row in Manifest(said["test"])] == ["said", "said"]
    hyp.write_text("{}\n")
    with pytest.raises(ValueError, match=r"hyp.jsonl:1: not a decoding result"):
        transcripts.Config(out=str(tmp_path / "out"), **given).prepare()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Don't you, Mr. O'Neil?", True),
        ("Ja-Sager gehen... weg!", True),
        ("It's 3 o'clock.", False),
        ("See www.x.de", False),
        ("„So“, sagte er.", False),
        ("A & B", False),
    ],
)
def test_what_can_be_said_as_it_is_written(text, plain):
    assert bool(_pairs._PLAIN.fullmatch(text)) is plain
