"""Shards: the sounds they were made of, any tool's tar files, faults with a name, any address."""

import functools
import json
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

import features
from features.shards import fetched
from speechllm import cli
from speechllm.data import sharding
from speechllm.data.manifest import Manifest, write
from speechllm.data.rows import parts
from speechllm.data.validate import validate
from speechllm.media import audio


@pytest.fixture
def corpus(tmp_path):
    """A manifest of a WAV, a FLAC, parts of a file, a channel, messages and a text."""
    rng = np.random.default_rng(0)
    stereo = (0.1 * rng.standard_normal((8000, 2))).astype(np.float32)
    left, right = stereo.T
    for name, wave, subtype in (
        ("a.wav", left, "PCM_16"),
        ("b.flac", stereo, "PCM_24"),
        ("c.wav", right, "FLOAT"),
        ("d.ogg", stereo, "OPUS"),
    ):
        soundfile.write(tmp_path / name, wave, 16000, subtype=subtype)
    part = {"type": "audio", "audio": "a.wav", "start": 0.1, "duration": 0.2}
    asked = [part, {"type": "text", "text": "?"}, part | {"start": 0}]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "low"}]
    rows = [
        {"id": "a.b/c", "audio": "a.wav", "duration": 0.5, "text": "one", "speaker": "s"},
        {"id": "flac", "audio": "b.flac", "duration": 0.5, "text": "two"},
        {"id": "part", "audio": "a.wav", "start": 0.25, "duration": 0.125, "text": "3"},
        {"id": "channel", "audio": "b.flac", "channel": 1, "duration": 0.5, "text": "four"},
        {"id": "float", "audio": "c.wav", "duration": 0.5, "text": "five"},
        {"id": "ogg", "audio": "d.ogg", "duration": 0.5, "text": "six"},
        {"id": "both", "messages": turns},
        {"id": "text", "text": "seven"},
    ]
    write(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def heard(row):
    """All samples of a row's sounds."""
    return [np.atleast_2d(audio.open(part, mono=False)) for part in parts(row)]


def test_the_samples_and_rows_are_those_of_the_manifest(corpus, tmp_path):
    out = tmp_path / "shards"
    assert cli.main(["data", "shard", str(corpus), "--out", str(out), "--size-mb", "0.03"]) == 0
    before, after = Manifest(corpus), Manifest(out / "m.jsonl")
    assert sorted(before.ids) == sorted(after.ids) != after.ids, "shuffled"
    for row in after:
        old = before[before.find(row["id"])]
        for one, other in zip(heard(row), heard(old), strict=True):
            np.testing.assert_allclose(one, other, atol=2**-24 if row["id"] == "float" else 0)
        same = ("id", "text", "speaker", "duration")
        assert {k: row.get(k) for k in same} == {k: old.get(k) for k in same}
    assert validate(out / "m.jsonl", deep=True, workers=1) == []
    flac = after[after.find("flac")]["audio"]
    assert fetched(flac).read() == (tmp_path / "b.flac").read_bytes(), "as it was, byte for byte"
    index = json.loads((out / "m.index.json").read_text())
    assert len(index) > 1 and sum(one["rows"] for one in index) == len(before)


def test_the_tar_files_are_what_webdataset_reads(corpus, tmp_path):
    for folder in ("one", "two"):
        sharding.shard(corpus, sharding.Config(str(tmp_path / folder), seed=None))
    shard = tmp_path / "one" / "m-000000.tar"
    assert shard.read_bytes() == (tmp_path / "two" / "m-000000.tar").read_bytes()
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        first = json.load(tar.extractfile("000000000.json"))
        wave, _ = soundfile.read(tar.extractfile("000000000.flac"))
    assert first["id"] == "a.b/c" and first["text"] == "one"
    assert (wave == soundfile.read(tmp_path / "a.wav")[0]).all()
    keys = [name.split(".")[0] for name in names]
    assert keys == sorted(keys), "the files of a row stand side by side"


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_broken_shard_is_named(corpus, tmp_path, damage):
    sharding.shard(corpus, sharding.Config(str(tmp_path / "s"), seed=None))
    shard = tmp_path / "s" / "m-000000.tar"
    data = shard.read_bytes()
    shard.unlink()
    if damage != "gone":
        shard.write_bytes(data[:1000] if damage == "cut" else b"x" * len(data))
    rows = Manifest(tmp_path / "s" / "m.jsonl")
    with pytest.raises(ValueError, match=r"m-000000\.tar: no (file of|such shard)"):
        features.load(rows[1]["audio"])
    errors = [str(p) for p in validate(tmp_path / "s/m.jsonl", workers=1) if p.severity == "error"]
    assert len(errors) == sum(len(parts(row)) for row in rows), errors
    assert all("m-000000.tar" in one for one in errors), errors


def test_a_sound_that_cannot_be_read_stops_or_is_named(corpus, tmp_path, capsys):
    (tmp_path / "d.ogg").write_bytes(b"no sound at all")
    words = ["data", "shard", str(corpus), "--out", str(tmp_path / "s")]
    assert cli.main(words) == 2
    assert "utterance 'ogg'" in capsys.readouterr().err and not (tmp_path / "s/m.jsonl").exists()
    assert cli.main([*words, "--on-error", "skip"]) == 1
    assert "left out: " in capsys.readouterr().out
    assert len(Manifest(tmp_path / "s" / "m.jsonl")) == 7


def test_shards_elsewhere_are_fetched_once(corpus, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("FEATURES_SHARDS", str(tmp_path / "kept"))
    out, here = "memory://bucket/train", tmp_path / "here.jsonl"
    with pytest.raises(ValueError, match="--out memory://bucket/train is an address: give"):
        sharding.shard(corpus, sharding.Config(out))
    sharding.shard(corpus, sharding.Config(out, size_mb=0.03, copy=here))
    there = fsspec.filesystem("memory")
    shards = [one for one in there.ls("/bucket/train", detail=False) if one.endswith(".tar")]
    rows = Manifest(here)
    for row in rows:
        for wave in heard(row):
            assert wave.shape[-1] > 1000
    named = {part["audio"].split("#")[0] for row in rows for part in parts(row)}
    assert 1 < len([*(tmp_path / "kept").glob("*.tar")]) == len(named) <= len(shards)
    for one in shards:
        there.rm(one)
    assert len(heard(rows[0])) >= 0 and heard(rows[rows.find("flac")])[0].shape == (2, 8000)
    for one in (tmp_path / "kept").glob("*.tar"):
        one.unlink()
    with pytest.raises(ValueError, match="memory://bucket/train/m-00000.*cannot be fetched"):
        heard(rows[rows.find("flac")])


def test_shards_are_read_by_http(corpus, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="http wants speechllm[remote]")
    monkeypatch.setenv("FEATURES_SHARDS", str(tmp_path / "kept"))
    sharding.shard(corpus, sharding.Config(str(tmp_path / "s"), seed=None))
    serve = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "s"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for row in Manifest(tmp_path / "s" / "m.jsonl"):
            for part in parts(row):
                there = {**part, "audio": f"{address}/{Path(part['audio']).name}"}
                assert (audio.open(there) == audio.open(part)).all()
        with pytest.raises(ValueError, match=r"other.tar: cannot be fetched"):
            features.load(f"{address}/other.tar#512+100")
        server.shutdown()
