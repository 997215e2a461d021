"""Stored features: what was put in comes out; what is half there, damaged or other is refused."""

import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import features
from features import folder, requests, stored
from features.extractor import get

FBANK = get("kaldi_fbank80")


def frames(seed, n=None):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n or int(rng.integers(1, 300)), 80)).astype(np.float32)


def fill(path, ids, extractor=FBANK, number=0):
    with folder.writing(path, folder.holds(extractor)):
        with stored.Writer(path, f"{number:05d}") as shard:
            for id in ids:
                x = frames(len(id))
                shard.add(id, x, len(x))


def test_what_was_put_in_comes_out(tmp_path, monkeypatch):
    """Over many shards and processes' worth of names, with fewer open than there are."""
    monkeypatch.setattr(folder, "SHARD_BYTES", 100_000)
    monkeypatch.setattr(stored, "OPEN_SHARDS", 2)
    ids = [f"speaker/{'x' * i}" for i in range(40)]
    fill(tmp_path, ids[:25])
    fill(tmp_path, ids[25:], number=folder.next_number(tmp_path))
    fbank = stored.Stored(tmp_path, FBANK)
    assert len(list(tmp_path.glob("*.npy"))) > 5 and len(fbank) == 40
    assert sorted(fbank) == sorted(ids)
    for copy in (fbank, pickle.loads(pickle.dumps(fbank))):
        for id in np.random.default_rng(0).permutation(ids):
            x, n = copy[id]
            assert n == len(x) and (x == frames(len(id))).all() and not x.flags.writeable
    assert "speaker/" in fbank and "nobody" not in fbank
    with pytest.raises(ValueError, match="has no features of 'nobody'"):
        fbank["nobody"]
    fbank.verify()


def test_frames_are_mapped_and_not_read(tmp_path):
    """Opening and taking one utterance of a set of 60 MB costs a small part of that memory."""
    with folder.writing(tmp_path, folder.holds(FBANK)):
        for number in range(3):
            with stored.Writer(tmp_path, f"{number:05d}") as shard:
                shard.add(f"long{number}", np.ones((62_500, 80), np.float32), 62_500)
    code = (
        "import sys, resource\n"
        "from features import stored\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "x, n = stored.Stored(sys.argv[1])['long2']\n"
        "assert x.shape == (62500, 80) and x[50_000, 7] == 1\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(features.__file__).parents[1])}
    line = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10_000  # KB


def test_a_padded_window_and_a_raw_wave(tmp_path):
    wave = (0.1 * np.random.default_rng(0).standard_normal(5000)).astype(np.float32)
    for extractor in (get("whisper80", pad_to_s=2.0), get("wave16k")):
        x, n = extractor(wave)
        path = tmp_path / extractor.name
        with folder.writing(path, folder.holds(extractor)), stored.Writer(path, "00000") as shard:
            shard.add("a", x, n)
        y, m = stored.Stored(path, extractor)["a"]
        assert m == n == extractor.count(5000) and (y == x.numpy()).all() and y.shape == x.shape


def test_it_refuses_to_be_read_as_another(tmp_path):
    fill(tmp_path, ["a"])
    assert stored.Stored(tmp_path).preset == "kaldi_fbank80"
    for other, said in (
        (get("whisper80"), "holds kaldi_fbank80, wanted whisper80"),
        (get("kaldi_fbank80", dither=1.0), r"different: dither"),
    ):
        with pytest.raises(ValueError, match=said):
            stored.Stored(tmp_path, other)
        with pytest.raises(ValueError, match=said):
            fill(tmp_path, ["b"], other)
    with pytest.raises(ValueError, match="holds no stored features"):
        stored.Stored(tmp_path / "nowhere")


def test_an_option_younger_than_the_set(tmp_path):
    """Had its default when the set was made."""
    fill(tmp_path, ["a"])
    note = tmp_path / "preset.json"
    about = json.loads(note.read_text())
    del about["options"]["dither"]
    note.write_text(json.dumps(about))
    assert len(stored.Stored(tmp_path, FBANK)) == 1
    with pytest.raises(ValueError, match="different: dither"):
        stored.Stored(tmp_path, get("kaldi_fbank80", dither=1.0))


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def grow(path):
    path.write_bytes(path.read_bytes() + b"\0" * 320)


def blank(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("00000-00.npy", cut), ("00000-00.npy", blank), ("00000-00.npy", Path.unlink),
        ("00000-00.json", cut), ("00000-00.json", blank), ("preset.json", cut),
        ("00000-00.json", lambda p: p.write_text('{"ids": ["a"]}')),
        ("00000-00.json", lambda p: p.write_text(p.read_text().replace("1", "2"))),
    ],
)  # fmt: skip
def test_damage_is_seen_on_opening(tmp_path, name, damage):
    fill(tmp_path, ["a", "bc"])
    damage(tmp_path / name)
    with pytest.raises(ValueError, match="damaged") as caught:
        stored.Stored(tmp_path)
    assert name.split(".")[0] in str(caught.value) and "\n" not in str(caught.value)


KINDS = [None, True, -1, 0.5, 2**70, "x", [], ["a"], [-1], [2**70], [None], {}, {"a": 1}]


@pytest.mark.parametrize("value", KINDS)
@pytest.mark.parametrize("key", ["ids", "rows", "valid", "of", "crc32"])
def test_an_index_of_other_kinds_is_damaged(tmp_path, key, value):
    """Whatever stands in the JSON: a line that names the file, from all who read indexes."""
    fill(tmp_path, ["a", "bc"])
    path = tmp_path / "00000-00.json"
    index = json.loads(path.read_text()) | {key: value}
    path.write_text(json.dumps(index))
    fine = (key == "of" and not value) or (key == "crc32" and type(value) is int)
    for read in (stored.Stored, lambda folder: requests.made(folder, "shards")):
        if not fine:
            with pytest.raises(ValueError, match=r"00000-00.json: damaged .*remove 00000-00"):
                read(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"preset": 1, "options": {}}', "[" * 9999])
def test_a_set_that_does_not_say_what_it_holds(tmp_path, text):
    fill(tmp_path, ["a"])
    (tmp_path / "preset.json").write_text(text)
    for use in (lambda: stored.Stored(tmp_path), lambda: fill(tmp_path, ["b"])):
        with pytest.raises(ValueError, match=r"preset.json: damaged"):
            use()


def test_a_changed_byte_is_seen_by_verify(tmp_path):
    fill(tmp_path, ["a", "bc"])
    data = bytearray((tmp_path / "00000-00.npy").read_bytes())
    data[-9] ^= 1
    (tmp_path / "00000-00.npy").write_bytes(data)
    with pytest.raises(ValueError, match="damaged .checksum.; remove 00000-00"):
        stored.Stored(tmp_path).verify()


def test_twice_the_same_id(tmp_path):
    fill(tmp_path, ["a"])
    fill(tmp_path, ["a"], number=1)
    with pytest.raises(ValueError, match="an id stands there twice"):
        stored.Stored(tmp_path)
    with pytest.raises(ValueError, match="is there already"):
        fill(tmp_path, ["b", "b"], number=2)


def test_one_run_writes_at_a_time(tmp_path):
    with folder.writing(tmp_path, folder.holds(FBANK)):
        with pytest.raises(ValueError, match="another run writes there"):
            with folder.writing(tmp_path, folder.holds(FBANK)):
                pass
    fill(tmp_path, ["a"])


KILLED = """
import json, sys, numpy as np
from features import folder, stored
folder.SHARD_BYTES = 200_000
with folder.writing(sys.argv[1], json.loads(sys.argv[3])):
    with stored.Writer(sys.argv[1], f"{folder.next_number(sys.argv[1]):05d}") as shard:
        for i in range(10**6):
            shard.add(f"{sys.argv[2]}-{i}", np.full((100, 80), i, np.float32), 100)
"""


def test_a_killed_run_leaves_a_whole_set(tmp_path):
    """Killed at any moment, three times over: what stands there is whole, and the next goes on."""
    environment = os.environ | {"PYTHONPATH": str(Path(features.__file__).parents[1])}
    for turn in range(3):
        before = len(list(tmp_path.glob("*.json")))
        about = json.dumps(folder.holds(FBANK))
        line = [sys.executable, "-c", KILLED, str(tmp_path), str(turn), about]
        process = subprocess.Popen(line, env=environment)
        while len(list(tmp_path.glob("*.json"))) < before + 4 + turn and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        killed = stored.Stored(tmp_path, FBANK)
        killed.verify()
        assert all((killed[id][0] == int(id.split("-")[1])).all() for id in killed)
    fill(tmp_path, ["a"], number=folder.next_number(tmp_path))
    assert not list(tmp_path.glob(".*.part")) and "a" in stored.Stored(tmp_path)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"cannot be written .No space left on device.; make room"):
        with folder.writing(tmp_path, folder.holds(FBANK)):
            with stored.Writer(tmp_path, "00000") as shard:
                shard.add("a", frames(0), 1)
                monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    assert [p.name for p in tmp_path.iterdir() if "00000" in p.name] == []


@pytest.mark.parametrize("at", [10, 30, 100])
def test_a_damaged_header_is_one_line(tmp_path, at):
    """Numpy's parser raises errors of Python's own tokenizer, too."""
    fill(tmp_path, ["a", "bc"])
    path = tmp_path / "00000-00.npy"
    data = path.read_bytes()
    for junk in (b"(", b"'", b"\\", b"\n\n(", b"\x00"):
        path.write_bytes(data[:at] + junk + data[at + len(junk) :])
        with pytest.raises(ValueError, match=r"00000-00.npy: damaged"):
            stored.Stored(tmp_path)
