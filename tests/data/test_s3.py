"""Shards on S3: a server that speaks it (moto), connections that break, keys that are missing."""

import contextlib
import json
import socket
import threading
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from features import remote
from speechllm import cli
from speechllm.data.manifest import Manifest, write
from speechllm.media import audio
from speechllm.train import loop

pytest.importorskip("s3fs", reason="S3 wants speechllm[remote]")
pytest.importorskip("flask_cors", reason="moto's server wants flask and flask-cors")
moto_server = pytest.importorskip("moto.server", reason="an S3 server: pip install 'moto[s3]'")


@pytest.fixture(scope="module")
def server():
    """Address of an S3 server."""
    one = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    one.start()
    yield one.get_host_and_port()
    one.stop()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    """A bucket of its own, its file system, and an environment that leads to both."""
    import s3fs

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("FEATURES_SHARDS", str(tmp_path / "kept"))
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    lead_to(server, monkeypatch)
    there = s3fs.S3FileSystem()
    there.mkdir("speech")
    yield there
    lead_to(server, monkeypatch)
    s3fs.S3FileSystem().rm("speech", recursive=True)


def lead_to(server, monkeypatch):
    """Have S3 looked for at an address, with keys."""
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server))
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def corpus(tmp_path):
    """A manifest of six files of noise, 0.3 MB."""
    rng, rows = np.random.default_rng(0), []
    for i in range(6):
        path = tmp_path / f"{i}.flac"
        soundfile.write(path, 0.1 * rng.standard_normal(16000), 16000, subtype="PCM_24")
        rows.append({"id": str(i), "audio": str(path), "duration": 1.0, "text": "noise"})
    write(tmp_path / "m.jsonl", rows)
    return tmp_path / "m.jsonl"


def cut(manifest, out="s3://speech/train", *more):
    """Call `speechllm data shard`; its status, and the manifest of places."""
    copy = manifest.with_name("there.jsonl")
    return cli.main(["data", "shard", str(manifest), "--out", out, "--manifest", str(copy), *more])


def heard(manifest):
    return {row["id"]: audio.open(row, 16000) for row in Manifest(manifest)}


@contextlib.contextmanager
def breaking(server, n_bytes: int, times: float, upload: bool = False):
    """Stand before a server; the first `times` connections end after n_bytes of sound."""
    left = [times]

    def pass_on(source, target, counts: bool):
        room = n_bytes
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                room -= len(data) if counts and left[0] > 0 else 0
                if room < 0:
                    left[0] -= 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(door):
        with contextlib.suppress(OSError):
            while True:
                user, there = door.accept()[0], socket.create_connection(server)
                for ends in ((user, there, upload), (there, user, not upload)):
                    threading.Thread(target=pass_on, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=accept, args=[door], daemon=True).start()
        yield door.getsockname()
        door.shutdown(socket.SHUT_RDWR)


def test_training_hears_what_it_hears_from_this_disk(bucket, tiny, make_run, tmp_path):
    """Shards written by the command, read by worker processes: the same losses to the bit."""
    logs = []
    for out in ("s3://speech/train", str(tmp_path / "here")):
        assert cut(tiny / "train.jsonl", out, "--size-mb", "0.05") == 0
        few = ("phase.encoder.steps=2", "phase.tune.steps=1")
        run = make_run(tmp_path / f"exp{len(logs)}", *few, workers=len(logs) ^ 1)
        train = Manifest(tiny / "there.jsonl")
        assert all(row["audio"].startswith(out) for row in train)
        loop.train(replace(run, manifests={**run.manifests, "train": train}))
        lines = (run.out / "log.jsonl").read_text().splitlines()
        logs.append([one["loss"] for one in map(json.loads, lines) if "loss" in one])
    assert logs[0] == logs[1] and len(logs[0]) >= 2
    shards = [one for one in bucket.ls("speech/train") if one.endswith(".tar")]
    assert 0 < len([*(tmp_path / "kept").glob("*.tar")]) <= len(shards) > 1


def test_a_bucket_that_is_not_there_is_said_and_not_made(bucket, corpus, capsys):
    assert cut(corpus, "s3://typo/train") == 2
    said = capsys.readouterr().err
    assert "s3://typo/train/m-000000.tar: cannot be written: no such file or bucket" in said
    assert not bucket.exists("typo") and not corpus.with_name("there.jsonl").exists()
    assert cut(corpus) == 0
    row = Manifest(corpus.with_name("there.jsonl"))[0]
    with pytest.raises(ValueError, match="s3://typo/.*: cannot be fetched: no such file or bucket"):
        audio.open({**row, "audio": row["audio"].replace("speech", "typo")})


def test_who_has_no_keys_is_told_which(bucket, corpus, capsys, monkeypatch):
    assert cut(corpus) == 0
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    type(bucket).clear_instance_cache()
    assert cut(corpus) == 2
    assert "cannot be written: no keys; set AWS_ACCESS_KEY_ID" in capsys.readouterr().err
    with pytest.raises(ValueError, match="cannot be fetched: no keys; set AWS_ACCESS_KEY_ID"):
        heard(corpus.with_name("there.jsonl"))


def test_wrong_keys_are_refused_in_a_line(bucket, corpus, capsys):
    from moto.core import set_initial_no_auth_action_count

    assert cut(corpus) == 0

    @set_initial_no_auth_action_count(0)
    def refused():
        assert cut(corpus) == 2
        assert "cannot be written: access is refused; check the keys" in capsys.readouterr().err
        with pytest.raises(ValueError, match="cannot be fetched: access is refused"):
            heard(corpus.with_name("there.jsonl"))

    refused()


def test_a_connection_that_breaks_is_taken_up_again(bucket, server, corpus, capsys, monkeypatch):
    """Twice: nobody notices. Each time: a line; and nothing half is left on either side."""
    with breaking(server, 100_000, 2, upload=True) as door:
        lead_to(door, monkeypatch)
        assert cut(corpus) == 0
    with breaking(server, 100_000, 2) as door:
        lead_to(door, monkeypatch)
        there = heard(corpus.with_name("there.jsonl"))
    assert all((there[id] == wave).all() for id, wave in heard(corpus).items())
    kept = corpus.with_name("kept")
    for file in kept.glob("*.tar"):
        file.unlink()
    with breaking(server, 20_000, np.inf) as door:
        lead_to(door, monkeypatch)
        with pytest.raises(ValueError, match=r"s3://speech/train/m-000000.tar: cannot be fetched"):
            heard(corpus.with_name("there.jsonl"))
    assert not [*kept.glob("*.tar"), *kept.glob("*.part")]
    with breaking(server, 20_000, np.inf, upload=True) as door:
        lead_to(door, monkeypatch)
        assert cut(corpus, "s3://speech/other") == 2
    said = capsys.readouterr().err
    assert "s3://speech/other/m-000000.tar: cannot be written" in said and said.count("\n") == 1
    assert not bucket.exists("speech/other/m-000000.tar")
    lead_to(("127.0.0.1", door[1]), monkeypatch)
    with pytest.raises(ValueError, match="no server answers; .*AWS_ENDPOINT_URL"):
        heard(corpus.with_name("there.jsonl"))


def test_half_a_shard_is_named_and_the_whole_one_taken_when_it_is_there(bucket, corpus):
    assert cut(corpus) == 0
    shard, there = "speech/train/m-000000.tar", corpus.with_name("there.jsonl")
    whole = bucket.cat_file(shard)
    bucket.pipe_file(shard, whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="m-000000.tar: no file of .* damaged, cut off or another"):
        heard(there)
    bucket.pipe_file(shard, whole)
    assert len(heard(there)) == 6


def test_what_stops_in_the_middle_leaves_no_half_shard(bucket, corpus, capsys):
    corpus.with_name("4.flac").write_bytes(b"no sound")
    assert cut(corpus, "s3://speech/train", "--in-order", "--size-mb", "0.1") == 2
    assert "utterance '4'" in capsys.readouterr().err
    first, *others = bucket.ls("speech/train")
    assert others == ["speech/train/m-000001.tar"] or not others
    assert bucket.cat_file(first).endswith(b"\0" * 1024)
