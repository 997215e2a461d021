"""Ctrl-C while two processes extract: the end at once, one line, nobody left, and it goes on."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import features
from features import extract, folder, sources, stored, worker

N_ROWS, ROW_S = 400, 20.0
REPOSITORY = str(Path(features.__file__).parents[1])


@pytest.fixture
def manifest(tmp_path):
    """Some two hours of sound, all from one file: seconds of work."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(60 * 16000))
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    rows = [
        {"id": f"u{i}", "audio": "a.wav", "start": i % 40, "duration": ROW_S} for i in range(N_ROWS)
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "m.jsonl"


def members(session: int) -> list[str]:
    """What runs in a session: process numbers and names."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:  # it has ended meanwhile
            continue
        state, _, _, own = rest.split()[:4]
        if int(own) == session and state != "Z":
            found.append(name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
@pytest.mark.parametrize("moment", ["starting", "computing"])
def test_ctrl_c(manifest, tmp_path, moment):
    out = tmp_path / "out"
    line = [sys.executable, "-m", "features", "extract", str(manifest), "--out", str(out)]
    process = subprocess.Popen(
        [*line, "--jobs", "2"], env=os.environ | {"PYTHONPATH": REPOSITORY},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # if ignored
    )  # fmt: skip
    sign = "preset.json" if moment == "starting" else "*-*.json"
    while not list(out.glob(sign)) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(0.2 * (moment == "starting"))  # the server of processes imports
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the command
    before = time.monotonic()
    said, complaint = process.communicate(timeout=60)
    taken_s = time.monotonic() - before
    assert process.returncode == 130 and said == ""
    assert complaint == "\nfeatures: stopped; run the same line again to go on\n"
    assert taken_s < 30  # 0.3 s, or 2 s of imports; this machine may be busy
    until = time.monotonic() + 10
    while members(process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert members(process.pid) == []
    fe = features.get("kaldi_fbank80")
    n = len(stored.Stored(out, fe))
    assert (0 < n < N_ROWS) if moment == "computing" else n < N_ROWS
    if moment == "computing":
        tally = extract.extract(sources.find(manifest), out, "kaldi_fbank80")
        assert (tally.skipped, tally.done, tally.errors) == (n, N_ROWS - n, [])
        whole = stored.Stored(out, fe)
        whole.verify()
        wave, _ = features.load(tmp_path / "a.wav", start_s=7.0, duration_s=ROW_S)
        assert len(whole) == N_ROWS and (whole["u7"][0] == fe(wave)[0].numpy()).all()


def test_a_worker_stops_between_two_utterances(manifest, tmp_path, monkeypatch):
    """And not after the 256 of its shard; what it has is stored."""
    items, stop = sources.find(manifest), threading.Event()
    worker.start("kaldi_fbank80", {})
    monkeypatch.setitem(worker._worker, "stop", stop)
    add = worker._add
    monkeypatch.setattr(worker, "_add", lambda *a: (add(*a), items[2] is a[0] and stop.set())[0])
    with folder.writing(tmp_path / "out", folder.holds(features.get("kaldi_fbank80"))):
        done = worker.store(("shards", str(tmp_path / "out"), "00000", items))
    assert len(done) == 3 and set(stored.Stored(tmp_path / "out")) == {"u0", "u1", "u2"}


def test_a_disk_that_is_full_at_the_end_is_said(manifest, tmp_path, monkeypatch):
    """The last shard of a worker is flushed when nobody waits for its result any more."""
    items = sources.find(manifest)[:4]
    monkeypatch.setattr(extract, "PER_SHARD", 4)
    out = tmp_path / "out"
    out.mkdir()
    for i in range(4):  # a folder where the file should go
        (out / f"{i:05d}-00.npy").mkdir()
        (out / f"{i:05d}-00.npy" / "x").touch()
    monkeypatch.setattr(folder, "next_number", lambda _: 0)
    with pytest.raises(ValueError, match="cannot be written"):
        extract.extract(items, out, "kaldi_fbank80", jobs=2)
