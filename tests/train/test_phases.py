"""What a phase lets learn, which parts are in training mode, and which heads are kept."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from speechllm.models import store, whole
from speechllm.report import collect
from speechllm.train import loop
from speechllm.train import start as begin
from speechllm.train.phases import Learner, Phase, phases


@pytest.fixture
def learner(make_run, tmp_path):
    """The tiny system, with dropout, and its two phases."""
    run = make_run(tmp_path, "encoder.dropout=0.1", "llm.lora.dropout=0.1")
    return Learner(run.system.build()), phases(run.system.preset)


def active(learner):
    """Parts of which any module is in training mode."""
    parts = [
        (n, p) for n, p in learner.model.named_children() if next(p.parameters(), None) is not None
    ]
    return {name for name, part in parts if any(module.training for module in part.modules())}


def test_training_mode_is_where_something_learns_alone(learner):
    """Dropout of what is frozen would only be noise; a LoRA's own is without parameters."""
    learner, (first, second) = learner
    assert first.train == ("encoder.*",), "the tiny preset's first phase"
    learning = learner.begin(first, "test", [["encoder.*"]])
    assert {name.split(".")[0] for name in learning} == {"encoder", "heads"}
    assert active(learner) == {"encoder", "heads"}
    learner.begin(second, "test", [["encoder.*"], list(second.train)])
    drops = [m for m in learner.model.llm.modules() if isinstance(m, torch.nn.Dropout)]
    for _ in range(2):
        assert active(learner) == {"adapter", "heads", "llm"}
        assert drops and all(module.training for module in drops)
        assert not learner.model.llm.lm_head.training
        learner.eval()
        assert not active(learner)
        learner.set_modes()


def test_a_head_that_was_trained_goes_on_where_it_fits(learner):
    learner, (first, _) = learner
    learner.begin(first, "test", [["encoder.*"]])
    kept = learner.model.heads["ctc"].head.weight.detach().clone()
    learner.begin(replace(first, name="again"), "test", [["encoder.*"]] * 2)
    assert torch.equal(learner.model.heads["ctc"].head.weight, kept)
    learner.begin(replace(first, objectives={"ctc": {"on": "adapter"}}), "test", [["encoder.*"]])
    assert learner.model.heads["ctc"].head.weight.shape != kept.shape


def test_weights_are_those_of_the_objectives_settings():
    made = Phase("x", ("*",), {"ctc": {}, "language_modelling": {"weight": 0.25}}, 1, 0.1)
    assert made.weights == {"ctc": 1.0, "language_modelling": 0.25}


def as_before(experiment):
    """Write an experiment as it was when a preset's phases were called stages."""
    (experiment / "phases.json").rename(experiment / "stages.json")
    log = (experiment / "log.jsonl").read_text()
    assert '{"phase": ' in log
    (experiment / "log.jsonl").write_text(log.replace('{"phase": ', '{"stage": '))
    for file in experiment.rglob("checkpoint.json"):
        preset = (file.parent / "preset.toml").read_text()
        assert preset.count("[[phase]]") == 2
        preset = re.sub(r"^(\[+)phase\b", r"\1stage", preset, flags=re.MULTILINE)
        (file.parent / "preset.toml").write_text(preset)
        facts = {**json.loads(file.read_text()), "files": whole.digests(file.parent)}
        file.write_text(json.dumps(facts))


def test_an_experiment_with_the_old_word_goes_on_to_the_same_bits(make_run, tmp_path, caplog):
    """It is found, reported and trained on; what is added to it has the word of today."""
    new, old = tmp_path / "new", tmp_path / "old"
    loop.train(make_run(new), until="encoder")
    shutil.copytree(new, old)
    as_before(old)
    assert store.find(old).relative_to(old) == store.find(new).relative_to(new)
    for folder in (new, old):
        loop.train(make_run(folder))
    assert not caplog.messages
    ends = [store.find(folder) for folder in (new, old)]
    assert {end.parent.name for end in ends} == {"tune"}
    for name in ("model", "optimizer"):
        a, b = (load_file(end / f"{name}.safetensors") for end in ends)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    text = (old / "log.jsonl").read_text()
    assert '{"stage": "encoder"' in text and '{"phase": "tune"' in text
    logs = [collect.read(folder).phases() for folder in (new, old)]
    assert list(logs[0]) == list(logs[1]) == ["encoder", "tune"]
    steps = [[line["step"] for lines in log.values() for line in lines] for log in logs]
    assert steps[0] == steps[1]

    preset, start = begin.read(old / "encoder", ["stage.tune.steps=3"])
    assert start.parent == old / "encoder" and preset.tables["phase"][1]["steps"] == 3
