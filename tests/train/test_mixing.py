"""Training on a mixture: resumed = uninterrupted, two processes = one, tasks by source and row."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from speechllm.data import mixing
from speechllm.data.manifest import Manifest, write
from speechllm.media import _augment as augment
from speechllm.models import store
from speechllm.train import loop
from speechllm.train.phases import phases

TEXT = "{weight=1,task={name='copy'}}"
MIX = (
    f"phase.tune.data={{train=2,text={TEXT}}}",
    f"phase.tune.valid={{valid=3,text={TEXT}}}",
    "phase.tune.steps=6",
    "encoder.dropout=0.0",
)


NO_CHANGE = augment.Config()


@pytest.fixture
def make_mix(make_run, tiny):
    """Return a function that makes a run of the tiny system on speech and text."""
    rows = [{"id": f"t{i}", "text": text} for i, text in enumerate(["low mid", "high", "mid"] * 3)]
    if not (tiny / "text.jsonl").exists():
        write(tiny / "text.jsonl", rows)

    def make(out, *changes):
        run = make_run(out, *MIX, *changes)
        run.manifests["text"] = Manifest(tiny / "text.jsonl")
        return run

    return make


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(folder):
    files = sorted(store.find(folder).glob("*.safetensors"))
    return {f"{f.stem}/{k}": v for f in files for k, v in load_file(f).items()}


def test_stopped_and_resumed_on_a_mixture_ends_the_same(make_mix, tmp_path, monkeypatch):
    loop.train(make_mix(tmp_path / "whole"))
    step = loop.PhaseRun.step

    def dying(self, taken):
        if self.phase.name == "tune" and self.progress.step == 4:
            raise KeyboardInterrupt
        return step(self, taken)

    monkeypatch.setattr(loop.PhaseRun, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        loop.train(make_mix(tmp_path / "parts"))
    monkeypatch.setattr(loop.PhaseRun, "step", step)
    loop.train(make_mix(tmp_path / "parts"))
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)

    log = [v for v in lines(tmp_path / "parts") if v["phase"] == "tune"]
    found = [v["sources"] for v in log if "sources" in v]
    assert len(found) == 6, "each step says what its sources brought"
    totals = {name: sum(v[name]["examples"] for v in found) for name in ("train", "text")}
    assert totals["train"] > 0 and totals["text"] > 0
    assert sum(v["text"]["seconds"] for v in found) == 0
    assert all(v["text"]["loss"] > 0 for v in found if v["text"]["examples"])
    valid = [v["valid"] for v in log if "valid" in v][-1]
    mean = (3 * valid["valid"]["loss"] + valid["text"]["loss"]) / 4
    assert valid["loss"] == pytest.approx(mean)


def test_two_processes_do_what_one_does_on_a_mixture(make_mix, tiny, tmp_path):
    """With steps of text alone, in which the adapter has no gradient in any process."""
    changes = (f"phase.tune.data={{train=1,text={TEXT.replace('1', '3')}}}",)
    loop.train(make_mix(tmp_path / "one", *changes))
    data = [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid", "text")]
    sets = [word for change in (*MIX, *changes) for word in ("--set", change)]
    words = ["train", str(tiny / "tiny.toml"), "--tokenizer", str(tiny / "bpe"), *data, *sets,
             "--out", str(tmp_path / "two"), "--workers", "0", "--device", "cpu",
             "--num-processes", "2"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "speechllm", *words]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5, msg=name)
    steps = [[v["sources"] for v in lines(tmp_path / k) if "sources" in v] for k in ("one", "two")]
    assert any(not v["train"]["examples"] for v in steps[0]), "a step of text alone"
    for a, b in zip(*steps, strict=True):
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=1e-4)


def with_tasks(tiny, path, tasks):
    rows = [{**row, "task": task} if task else row for row, task in tasks]
    write(path, rows)
    return Manifest(path)


def test_a_task_comes_from_the_source_or_the_row_or_the_preset(make_run, tiny, tmp_path):
    run = make_run(tmp_path, "task.others.copy.prompt=[' again']")
    rows = [run.manifests["valid"][i] for i in range(3)]
    mixed = with_tasks(tiny, tmp_path / "m.jsonl", zip(rows, ["asr", "copy", None], strict=True))
    phase = phases(run.system.preset)[1]
    own = run.examples(phase, mixed, learning=False)
    text = [run.system.tokenizer.decode(own.make(0, i).encoded.ids) for i in range(3)]
    assert [len(own.make(0, i).media) for i in range(3)] == [1, 0, 1]
    assert "again" in text[1].replace(" ", "") or "<unk>" in text[1]
    forced = run.examples(phase, mixed, learning=False, source=mixing.Source(task={"name": "copy"}))
    assert [len(forced.make(0, i).media) for i in range(3)] == [0, 0, 0]
    whole = run.examples(replace(phase, task={"name": "copy"}), mixed, learning=False)
    assert len(whole.make(0, 0).media) == 0


def test_a_source_changes_the_augmentation_for_itself_alone(make_mix, tmp_path):
    run = make_mix(tmp_path, f"phase.tune.data.text={{{TEXT[1:-1]},augment={{shift=1.0}}}}")
    phase = phases(run.system.preset)[1]
    shared = run.system.preset.section("augment", augment.Config)
    made = run.parts(phase, learning=True)
    assert made["train"].augment == shared
    assert made["text"].augment == replace(shared, shift=1.0) != shared
    assert run.parts(replace(phase, augment=False), learning=True)["text"].augment == NO_CHANGE


def test_an_unknown_task_is_refused_with_file_and_line_before_any_step(make_run, tiny, tmp_path):
    run = make_run(tmp_path)
    rows = [run.manifests["train"][i] for i in range(3)]
    tasks = zip(rows, [None, "asr", "translte"], strict=True)
    run.manifests["train"] = with_tasks(tiny, tmp_path / "m.jsonl", tasks)
    with pytest.raises(ValueError, match=r"m\.jsonl:3: no tasks called 'translte'"):
        loop.train(run)
    assert not (tmp_path / "encoder").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("phase.tune.data={train=1,speech=2}", "wants --data speech=MANIFEST"),
        ("phase.tune.data={train=1,valid={}}", "phase tune data: wanted a weight above 0 for each"),
        ("phase.tune.temperature=-1", "temperature: wanted a number above 0"),
        ("phase.tune.data={train={task={name='asrr'}}}", "did you mean 'asr'"),
        ("phase.tune.data={train={augment={shif=1.0}}}", "did you mean 'shift'"),
    ],
)
def test_wrong_mixtures_are_named_before_any_step(make_run, tmp_path, monkeypatch, change, says):
    monkeypatch.setattr(loop.PhaseRun, "step", None)
    with pytest.raises(ValueError, match=says):
        loop.train(make_run(tmp_path, change))
