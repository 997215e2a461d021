"""Whatever a manifest, a side index, a table or another program's list holds: one line, or right.

A few hundred changed inputs here; `MUTATIONS=20000 pytest tests/data/test_mutations.py` tries more.
"""

import importlib
import json
import logging
import os
import random
import shutil

import numpy as np
import pytest
import soundfile

from speechllm.data import index, manifest
from speechllm.data.manifest import Manifest
from speechllm.data.summary import summary
from speechllm.data.validate import validate

N = int(os.environ.get("MUTATIONS", 100))

ODD = [
    None, True, -1, 0, -0.5, 10**15, 10**400, 1e308, float("nan"), float("inf"), "", "\x00",
    "\ud800", "x" * 3000, "\u2028", "a\nb", [], {}, [[]], [None],
    {"a": {}}, "\ufeff", "../..", "#", 2**63,
]  # fmt: skip


def changed(rng: random.Random, row):
    """Return a JSON value of which one place, at any depth, is another kind of thing."""
    if isinstance(row, dict) and row and rng.random() < 0.9:
        key = rng.choice(sorted(row))
        how = rng.random()
        if how < 0.1:
            return {k: v for k, v in row.items() if k != key}
        if how < 0.2:
            return {**row, rng.choice(KEYS): rng.choice(ODD)}
        return {**row, key: changed(rng, row[key])}
    if isinstance(row, list) and row and rng.random() < 0.9:
        at = rng.randrange(len(row))
        return [*row[:at], changed(rng, row[at]), *row[at + 1 :]]
    return rng.choice(ODD)


KEYS = (
    "id audio duration start channel text lang task messages speaker choices texts heard features "
    "question translation chosen role content type image"
).split()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Return bytes that were cut, repeated, overwritten or filled."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 10))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0:
            del data[at:]
        elif how == 1:
            del data[at : at + rng.randrange(1, 40)]
        elif how == 2:
            data[at:at] = data[max(at - 30, 0) : at]
        elif how == 3 and at < len(data):
            data[at] = rng.randrange(256)
        elif how == 4:
            data[at : at + 4] = bytes(rng.choice((0, 255)) for _ in range(4))
        else:
            data[at:at] = rng.choice(PIECES)
    return bytes(data)


PIECES = [
    b"\n", b"\r", b"\0", b'"', b"{", b"]", b"\xff", b"\xef\xbb\xbf", b"\t", b",", b"[" * 3000,
    b"9" * 5000, b"-", b"1e999", b"NaN", b"\\ud800", b"null", "\u2028".encode(), b"\xc3", b"'",
]  # fmt: skip


def line(rng: random.Random, row) -> bytes:
    """Return a line of JSON, changed in its value or in its bytes."""
    for _ in range(rng.randrange(3)):
        row = changed(rng, row)
    data = json.dumps(row, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    return damaged(rng, data) if rng.random() < 0.3 else data


CHAT = [
    {
        "role": "user",
        "content": [{"type": "audio", "audio": "a.wav", "start": 0.1, "duration": 0.5}],
    },
    {"role": "assistant", "content": "hello"},
]
ROWS = [
    {"id": "a", "audio": "a.wav", "duration": 1.0, "start": 0.0, "text": "one", "lang": "en"},
    {"id": "b", "audio": "a.wav", "duration": 0.5, "channel": 0, "text": "two", "speaker": "s"},
    {"id": "c", "text": "yes", "choices": ["yes", "no"], "question": "is it"},
    {"id": "d", "messages": CHAT},
    {"id": "e", "text": "x", "texts": ["x", "y"], "translation": "z", "translation_lang": "de"},
]


@pytest.fixture
def folder(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(16000, 0.1), 16000)
    return tmp_path


@pytest.fixture
def quiet(caplog):
    """Without the lists of what was skipped."""
    caplog.set_level(logging.CRITICAL)


def refused(call, *args):
    """Whether a call refuses what it is given; in one line, or this fails."""
    try:
        call(*args)
    except ValueError as error:
        assert not isinstance(error, UnicodeError), repr(error)
        assert "\n" not in str(error).strip() and len(str(error)) < 1000, str(error)[:300]
        return True
    return False


def everything(path):
    """Open a manifest and read all there is of it."""
    opened = Manifest(path)
    for row in opened:
        assert isinstance(row["id"], str) and all(value is not None for value in row.values())
    assert np.isfinite(opened.lengths_s).all()
    return opened


def test_manifests(folder):
    rng, kept = random.Random(1), 0
    path = folder / "m.jsonl"
    for _ in range(N):
        lines = [line(rng, row) if rng.random() < 0.4 else json.dumps(row).encode() for row in ROWS]
        path.write_bytes(b"\n".join(lines) + b"\n")
        wrong = refused(everything, path)
        kept += not wrong
        errors = [one for one in validate(path, workers=1) if one.severity == "error"]
        # What the reader refuses is an error of the validator, too.
        assert errors or not wrong, lines
        summary(path)
    assert N / 20 < kept < N, "some are right after all"


def test_side_indexes(folder, monkeypatch):
    monkeypatch.setattr(index, "LARGE", 3)
    rng, path = random.Random(2), folder / "m.jsonl"
    manifest.write(path, [{"id": f"u{i}", "text": "x" * (i % 37)} for i in range(3000)])
    want = [Manifest(path).ids, list(Manifest(path).durations)]
    side = index.side_of(path)
    whole = side.read_bytes()
    for _ in range(N):
        side.write_bytes(damaged(rng, whole))
        os.utime(side)
        try:
            opened = Manifest(path)
            assert [opened.ids, list(opened.durations)] == want
            assert opened.between(0, 1e9)[0]["id"]
        except ValueError as error:
            assert "is damaged; delete it" in str(error) and "\n" not in str(error)


def test_an_index_of_another_version_is_made_anew(folder, monkeypatch):
    monkeypatch.setattr(index, "LARGE", 3)
    path = folder / "m.jsonl"
    manifest.write(path, [{"id": f"u{i}", "text": "x"} for i in range(5)])
    side = index.side_of(path)
    for old in (b'speechllm index 2 {"stamp": [1, 2], "n": []}\n', b"", b"\xff" * 100):
        side.write_bytes(old)
        assert Manifest(path).is_large
        assert side.read_bytes().startswith(index.FORMAT)
    shutil.copy(side, folder / "copy")
    assert Manifest(path).is_large and side.read_bytes() == (folder / "copy").read_bytes()


TABLE = 'id,path,sentence,start,channel,lang\n1,a.wav,one,0.0,0,en\n2,a.wav,"two, 2",0.5,,German\n'
LISTS = {
    "nemo": [
        {"audio_filepath": "a.wav", "duration": 1.0, "offset": 0.0, "text": "one", "lang": "en"},
        {"audio_filepath": "a.wav", "text": "two", "source_lang": "en", "target_lang": "de"},
    ],
    "slam_llm": [
        {"key": "k", "source": "a.wav", "target": "one", "prompt": "what"},
        {"key": "k2", "source": "a.wav", "target": "two"},
    ],
    "lhotse": [
        {"id": "c", "start": 0.0, "duration": 1.0, "channel": 0, "type": "MonoCut",
         "recording": {"sources": [{"type": "file", "channels": [0], "source": "a.wav"}]},
         "supervisions": [{"id": "s", "start": 0.1, "duration": 0.5, "text": "one",
                           "language": "English", "speaker": "x", "channel": 0}]},
    ],
}  # fmt: skip


def prepared(name, **given):
    """Prepare, on both ways; what is left is a manifest, what is lost is named with its line."""
    config = importlib.import_module(f"speechllm.data.corpora.{name}").Config
    for on_error in ("stop", "skip"):
        try:
            for path in config(**given, on_error=on_error).prepare().values():
                everything(path)
        except ValueError as error:
            lines = str(error).strip().split("\n")
            assert len(lines) == 1 or "faults; mend them" in lines[0], str(error)[:300]
            assert max(map(len, lines)) < 1500 and not isinstance(error, UnicodeError)
            continue
        return True
    return False


@pytest.mark.parametrize("corpus", ["tsv", "nemo", "slam_llm", "lhotse"])
def test_lists_of_others(folder, corpus, quiet):
    rng, kept = random.Random(corpus), 0
    path = folder / {"tsv": "t.csv", "nemo": "t.json"}.get(corpus, "t.jsonl")
    for _ in range(N):
        if corpus == "tsv":
            path.write_bytes(damaged(rng, TABLE.encode()))
        else:
            path.write_bytes(b"\n".join(line(rng, row) for row in LISTS[corpus]) + b"\n")
        kept += prepared(corpus, corpus=str(path), out=str(folder / "out"))
    assert N / 20 < kept, "some are right after all"


def test_kaldi_directories(folder, quiet):
    rng, kept = random.Random(3), 0
    good = {
        "wav.scp": "r a.wav\n", "segments": "u r 0.0 0.5 0\nv r 0.5 -1\n", "text": "u one\nv two\n",
        "utt2spk": "u s\nv s\n",
    }  # fmt: skip
    for _ in range(N):
        for name, text in good.items():
            data = text.encode()
            (folder / name).write_bytes(damaged(rng, data) if rng.random() < 0.5 else data)
        kept += prepared("kaldi", corpus=str(folder), out=str(folder / "out"))
    assert N / 20 < kept


def test_parquet(folder, quiet):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rng, kept = random.Random(4), 0
    sound = (folder / "a.wav").read_bytes()
    rows = [{"id": k, "audio": {"bytes": sound, "path": "a.wav"}, "text": "one"} for k in range(3)]
    table = pa.Table.from_pylist(rows)
    notes = {"info": {"features": {"text": {"_type": "ClassLabel", "names": ["x", "y"]}}}}
    path = folder / "train.parquet"
    for _ in range(N):
        note = json.dumps(changed(rng, notes)).encode(errors="surrogatepass")
        pq.write_table(table.replace_schema_metadata({"huggingface": note}), path)
        if rng.random() < 0.8:
            path.write_bytes(damaged(rng, path.read_bytes()))
        kept += prepared("hub", path=str(path), out=str(folder / "out"))
    assert N / 20 < kept
