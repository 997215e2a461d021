"""What a folder holds: linked folders, names that are nearly one, kinds of files."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from features import sources, stored
from features.cli import main


def sound(path, hz=440.0):
    """A quarter of a second of a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "FLAC" if path.suffix == ".flac" else "WAV"
    tone = 0.5 * np.sin(2 * np.pi * hz * np.arange(4000) / 16000)
    soundfile.write(path, tone, 16000, format=kind)


def test_linked_folders_are_searched_once(tmp_path):
    corpus = tmp_path / "corpus"
    sound(corpus / "p.wav")
    sound(corpus / "real" / "q.wav")
    sound(tmp_path / "elsewhere" / "r.wav")
    (corpus / "linked").symlink_to("../elsewhere", target_is_directory=True)
    (corpus / "again").symlink_to("../elsewhere", target_is_directory=True)
    (corpus / "a_link_inside").symlink_to("real", target_is_directory=True)
    (corpus / "real" / "loop").symlink_to("../../corpus", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to("../corpus/real", target_is_directory=True)
    (corpus / "one.wav").symlink_to("p.wav")
    (corpus / "gone.wav").symlink_to("nowhere.wav")
    ids = [item.id for item in sources.find(corpus)]
    assert ids == ["again/r", "one", "p", "real/q"]
    assert main(["extract", str(corpus), "--out", str(tmp_path / "out")]) == 0
    assert sorted(stored.Stored(tmp_path / "out")) == ids


def test_a_linked_folder_as_source(tmp_path):
    sound(tmp_path / "elsewhere" / "r.wav")
    (tmp_path / "corpus").symlink_to("elsewhere", target_is_directory=True)
    assert [item.id for item in sources.find(tmp_path / "corpus")] == ["r"]


NEAR = ["a.wav", "A.wav", "rec/1.wav", "rec_1.wav", "rec 1.wav", "rec-1.wav", "e\u0301.wav",
        "\u00e9.wav", "x.flac", "x.wav", "x.flac.wav", "x.wav.flac", "#.wav", "%2F.wav", "-.wav",
        "\u2028.wav"]  # fmt: skip


@pytest.mark.parametrize("kind", ["shards", "ark"])
def test_names_that_are_nearly_one(tmp_path, kind):
    corpus, hz = tmp_path / "corpus", {}
    for i, name in enumerate(NEAR):
        sound(corpus / name, 200.0 + 400 * i)
    if len({os.path.realpath(p) for p in corpus.rglob("*.*")}) < len(NEAR):
        pytest.skip("this file system does not tell them apart")
    found = {item.id: item.path for item in sources.find(corpus)}
    assert len(found) == len(NEAR)
    assert {"a", "A", "rec/1", "rec_1", "x.flac", "x.wav", "x.flac.wav"} <= set(found)
    hz = {id: 200.0 + 400 * NEAR.index(os.path.relpath(path, corpus)) for id, path in found.items()}
    out = tmp_path / "out"
    code = main(["extract", str(corpus), "--out", str(out), "--format", kind])
    if kind == "ark":  # an .scp cannot hold an id with a space
        assert code == 2 or len((out / "feats.scp").read_bytes().split(b"\n")) > 1
        return
    assert code == 0
    there = stored.Stored(out)
    assert set(there) == set(found)
    heard = {id: int(there[id][0].mean(0).argmax()) for id in found}
    order = sorted(found, key=hz.get)
    assert [heard[id] for id in order] == sorted(heard.values())


@pytest.mark.skipif(os.name == "nt", reason="names are bytes elsewhere")
def test_a_name_that_is_no_utf8(tmp_path):
    sound(tmp_path / "corpus" / "good.wav")
    shutil.copy(tmp_path / "corpus" / "good.wav", os.fsencode(tmp_path / "corpus") + b"/\xff.wav")
    assert main(["extract", str(tmp_path / "corpus"), "--out", str(tmp_path / "out")]) == 0
    assert set(stored.Stored(tmp_path / "out")) == {"good", "\\xff"}


def test_kinds_that_are_left_out_are_named(tmp_path, monkeypatch, capsys):
    sound(tmp_path / "corpus" / "a.wav")
    (tmp_path / "corpus" / "film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 40)
    monkeypatch.setenv("PATH", "")
    assert main(["extract", str(tmp_path / "corpus"), "--out", str(tmp_path / "out")]) == 0
    assert "1 files left out (.mp4)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a", "audio": "a.wav", "duration": 1%s}' % ("0" * 400),
        '{"id": "a", "audio": "a.wav", "start": -1}',
        '{"id": "a", "audio": "a.wav", "start": NaN}',
        '{"id": "a", "audio": "a.wav", "duration": "1"}',
        '{"id": "a", "audio": "a.wav", "duration": true}',
        '{"id": "a", "audio": ["a.wav"]}',
        '{"id": {}, "audio": "a.wav"}',
        '{"id": "a", "audio": "a\\u0000.wav"}',
        "[" * 100_000,
        "9" * 5000,
        "null",
    ],
)
def test_rows_that_are_none_are_one_line(tmp_path, line):
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "b", "audio": "b.wav"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"m.jsonl:2: wanted .*correct the line") as caught:
        sources.find(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_byte_order_mark_and_separators_inside_texts(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes('\ufeff{"id": "a", "audio": "a.wav", "text": "x\u2028y\x85"}\r\n\n'.encode())
    assert [item.id for item in sources.find(path)] == ["a"]
    path.write_bytes(b'{"id": "a", "audio": "caf\xe9.wav"}\n')
    with pytest.raises(ValueError, match="m.jsonl:1: .*UnicodeDecodeError"):
        sources.find(path)
