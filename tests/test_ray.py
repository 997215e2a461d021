"""--ray of four commands: what a cluster writes is what one machine writes.

pytest tests/test_ray.py --slow      # by Ray itself, where it is installed; else by a stand-in
"""

import contextlib
import functools
import importlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from features import cli as features_cli
from features import cluster
from speechllm import cli, config
from speechllm.models import store
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer


@contextlib.contextmanager
def stand_in(address, jobs=0, gpus=0):
    """Give a `map` as a cluster's: what goes out and in is pickled, and errors are texts."""

    def run(function, pieces):
        for piece in pieces:
            good, result = pickle.loads(cluster._one(pickle.dumps((function, piece))))
            if not good:
                raise ValueError(result)
            yield result

    yield run


@pytest.fixture(params=["stand-in", "Ray"])
def ray(request, monkeypatch):
    if request.param == "Ray":
        request.getfixturevalue("slow")
        pytest.importorskip("ray")
    else:
        monkeypatch.setattr(cluster, "workers", stand_in)


def contents(folder, without=()):
    """Return the bytes of each file, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name not in without
    }


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """A folder of sounds with their texts, named from where it stands."""
    (tmp_path / "sounds").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        wave = rng.normal(0, 0.1, 4000 + 300 * i)
        soundfile.write(tmp_path / "sounds" / f"s{i:02d}.wav", wave, 16000)
        (tmp_path / "sounds" / f"s{i:02d}.txt").write_text("low mid\n")
    monkeypatch.chdir(tmp_path)  # workers start elsewhere
    return "sounds"


@pytest.fixture
def model(tiny, tmp_path):
    """A model folder, untrained."""
    system = System(config.load(tiny / "tiny.toml"), load_tokenizer(tiny / "bpe"))
    tensors = store.state(system, system.build(), [["*"]])
    store.save(tmp_path / "model", system, {"model": tensors}, {"trained": [["*"]]})
    return "model"


@pytest.mark.parametrize("kind", ["shards", "ark"])
def test_extract(ray, sounds, tmp_path, kind):
    line = ["extract", sounds, "--format", kind, "--preset", "kaldi_mfcc13"]
    assert features_cli.main([*line, "--out", "here"]) == 0
    assert features_cli.main([*line, "--out", "there", "--ray", "local"]) == 0
    here, there = contents(tmp_path / "here"), contents(tmp_path / "there")
    assert len(here) > 10
    # a list of archives names the folder that they are in
    assert {k: v.replace(b"there", b"here") for k, v in there.items()} == here
    assert features_cli.main([*line, "--out", "there", "--ray", "local"]) == 0  # nothing is left


def test_prepare(ray, sounds, tmp_path):
    for out, more in (("here", []), ("there", ["--ray", "local"])):
        words = ["data", "prepare", "folder", "--corpus", sounds, "--lang", "en", "--out", out]
        assert cli.main([*words, *more]) == 0
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_states(ray, model, sounds, tiny, tmp_path):
    """The same states of each; shards are cut after each 256 sounds."""
    from features.stored import Stored

    line = ["data", "states", model, str(tiny / "train.jsonl"), "--dtype", "bfloat16",
            "--precision", "fp32", "--workers", "0", "--device", "cpu"]  # fmt: skip
    assert cli.main([*line, "--out", "here"]) == 0
    assert cli.main([*line, "--out", "there", "--ray", "local"]) == 0
    here, there = Stored("here"), Stored("there")
    assert [*here] and sorted(here) == sorted(there)
    for name in here:
        assert np.array_equal(here[name][0], there[name][0]) and here[name][1] == there[name][1]
    assert (tmp_path / "here/preset.json").read_text() == (
        tmp_path / "there/preset.json"
    ).read_text()


def test_decode(ray, model, sounds, tiny, tmp_path):
    line = ["decode", model, str(tiny / "train.jsonl"), "--workers", "0", "--device", "cpu",
            "--max-batch-s", "2", "--max-tokens-per-s", "10"]  # fmt: skip
    assert cli.main([*line, "--out", "here"]) == 0
    assert cli.main([*line, "--out", "there", "--ray", "local"]) == 0
    found = []
    for name in ("here", "there"):
        rows = [json.loads(row) for row in (tmp_path / name / "hyp.jsonl").read_text().splitlines()]
        found.append(sorted(json.dumps(row | {"seconds": 0}) for row in rows))
    assert found[0] == found[1] and found[0]
    text = (tmp_path / "there/hyp.jsonl").read_text()
    (tmp_path / "there/hyp.jsonl").write_text("".join(text.splitlines(keepends=True)[:3]))
    assert cli.main([*line, "--out", "there", "--ray", "local"]) == 0  # it goes on
    assert len((tmp_path / "there/hyp.jsonl").read_text().splitlines()) == len(found[0])


def test_a_fault_is_one_line(ray, sounds, capsys):
    line = ["extract", sounds, "--out", "set", "--option", "dither=1e999", "--ray", "local"]
    assert features_cli.main(line) == 2
    assert "dither=inf: it must be" in capsys.readouterr().err


FATAL = """
import os, signal

def fatal(folder, piece):
    if piece == 3 and not os.path.exists(folder + "/died"):
        open(folder + "/died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    with open(f"{folder}/{piece}", "a") as file:
        file.write("x")
    return piece * 10
"""


def test_a_killed_worker_costs_its_piece(slow, tmp_path, monkeypatch):
    """The others are done once, its own again; what is done is a module's that workers import."""
    pytest.importorskip("ray")
    (tmp_path / "fatal_work.py").write_text(FATAL)
    monkeypatch.syspath_prepend(tmp_path)
    ours = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ours}")
    job = functools.partial(importlib.import_module("fatal_work").fatal, str(tmp_path))
    with cluster.workers("local", 2) as run:
        found = list(run(job, range(8)))
    assert found == [i * 10 for i in range(8)] and (tmp_path / "died").exists()
    assert [(tmp_path / str(i)).read_text() for i in range(8)] == ["x"] * 8


def test_without_ray_the_extra_is_named(sounds, tmp_path):
    program = (
        "import sys; sys.modules['ray'] = None; from features import cli;"
        f"sys.exit(cli.main(['extract', {sounds!r}, '--out', 'set', '--ray', 'local']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pip install 'speechllm[ray]'" in done.stderr
