"""The promises of training: resumed = uninterrupted, NaN stops, one process = two."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechllm import lock
from speechllm.data import loader
from speechllm.models import store
from speechllm.objectives.ctc import CTC
from speechllm.train import loop, optim
from speechllm.train.phases import Learner, phases


def weights(folder):
    """Return all tensors of an experiment's final checkpoint, with heads and optimiser."""
    final = store.find(folder)
    files = sorted(final.glob("*.safetensors"))
    return {f"{f.stem}/{k}": v for f in files for k, v in load_file(f).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def uninterrupted(make_run, whole):
    """An experiment run from start to end in one go (once a session)."""
    if not (whole / "done").exists():
        loop.train(make_run(whole))
        (whole / "done").touch()
    return whole


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("at", [1, 4, 6, 8, 11])
def test_killed_at_a_step_and_resumed_ends_the_same(
    make_run, uninterrupted, tmp_path, monkeypatch, at
):
    done, step = [0], loop.PhaseRun.step

    def dying(self, taken):
        done[0] += 1
        if done[0] == at:
            raise Killed
        return step(self, taken)

    monkeypatch.setattr(loop.PhaseRun, "step", dying)
    with pytest.raises(Killed):
        loop.train(make_run(tmp_path))
    monkeypatch.setattr(loop.PhaseRun, "step", step)
    loop.train(make_run(tmp_path))
    assert same(weights(tmp_path), weights(uninterrupted))


@pytest.mark.parametrize("at", [1, 2, 4])
def test_killed_in_the_middle_of_a_save(make_run, uninterrupted, tmp_path, monkeypatch, at):
    done, save_file = [0], store.save_file

    def dying(tensors, path):
        done[0] += 1
        save_file(tensors, path)
        if done[0] == at * 3 - 1:  # three files a save; the second is cut short
            path.write_bytes(path.read_bytes()[:100])
            raise Killed

    monkeypatch.setattr(store, "save_file", dying)
    with pytest.raises(Killed):
        loop.train(make_run(tmp_path))
    monkeypatch.setattr(store, "save_file", save_file)
    loop.train(make_run(tmp_path))
    assert same(weights(tmp_path), weights(uninterrupted))


def test_a_finished_run_trains_nothing_more(make_run, uninterrupted, tmp_path, monkeypatch):
    shutil.copytree(uninterrupted, tmp_path / "copy")
    monkeypatch.setattr(loop.PhaseRun, "step", None)
    loop.train(make_run(tmp_path / "copy"))
    assert same(weights(tmp_path / "copy"), weights(uninterrupted))


def test_the_log_of_a_resumed_run_has_each_step_once(make_run, tmp_path, monkeypatch, capsys):
    step = loop.PhaseRun.step

    def dying(self, taken):
        if self.progress.step == 5:
            raise Killed
        return step(self, taken)

    monkeypatch.setattr(loop.PhaseRun, "step", dying)
    with pytest.raises(Killed):
        loop.train(make_run(tmp_path))
    monkeypatch.setattr(loop.PhaseRun, "step", step)
    assert ", on from step" not in capsys.readouterr().out
    loop.train(make_run(tmp_path))
    assert "6 steps, on from step 3\n" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [(v["phase"], v["step"]) for v in lines if "loss" in v]
    assert steps == [(s, n) for s in ("encoder", "tune") for n in range(1, 7)]
    assert [v["step"] for v in lines if "health" in v] == [3, 6]


def test_what_is_frozen_stays_and_what_learns_moves(uninterrupted, make_run):
    first = store.chosen(uninterrupted / "encoder", "best")
    last = store.chosen(uninterrupted / "tune", "best")
    a, b = load_file(first / "model.safetensors"), load_file(last / "model.safetensors")
    moved = {
        k.split(".")[0] + (".lora" if "lora_" in k else "")
        for k in a
        if not torch.equal(a[k], b[k])
    }
    assert moved == {"adapter", "heads", "llm.lora"}  # CTC's head, whose objective both have


def test_a_loss_that_is_not_a_number_names_the_utterances(make_run, tmp_path, monkeypatch):
    forward = CTC.forward

    def broken(self, result):
        total, count = forward(self, result)
        return total * (float("nan") if "train3" in result.batch.names else 1.0), count

    monkeypatch.setattr(CTC, "forward", broken)
    with pytest.raises(
        FloatingPointError, match=r"phase encoder, step \d: the loss is nan on .*train3"
    ):
        loop.train(make_run(tmp_path))


def test_another_preset_is_refused_and_the_difference_named(make_run, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"settings \(adapter.stack: 2 -> 3; phase.*"):
        loop.train(make_run(tmp_path / "copy", "adapter.stack=3", "phase.encoder.lr=1e-4"))
    with pytest.raises(ValueError, match=r"\(phase.encoder.lr: 0.001 -> 0.0001\); choose"):
        loop.train(make_run(tmp_path / "copy", "phase.encoder.lr=1e-4"))


def test_a_full_disk_keeps_what_there_is(make_run, tmp_path, monkeypatch):
    done, save_file = [0], store.save_file

    def full(tensors, path):
        done[0] += 1
        if done[0] > 4:
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OSError, match="the disk is full: free some space and resume"):
        loop.train(make_run(tmp_path))
    assert [f.name for f in store.checkpoints(tmp_path / "encoder")] == ["step-00000003"]
    assert not list(tmp_path.glob("**/.*tmp"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            ["phase.tune.train=['adapter.*','encodr.*']"],
            "'encodr.\\*' in train matches no parameter",
        ),
        (["phase.tune.data=speech"], "wants --data speech=MANIFEST"),
        (["phase.tune.schedule=wavy"], "schedule: wanted one of"),
        (["phase.tune.objectives={ctcc={}}"], "did you mean 'ctc'"),
        (["phase.tune.name=encoder"], "two phases of one name"),
        (["llm.lora.targets=['q']"], "no layer is called 'q'"),
        (["frontend.num_mel_bin=3"], "did you mean"),
    ],
)
def test_wrong_settings_are_named_before_any_step(make_run, tmp_path, monkeypatch, changes, says):
    monkeypatch.setattr(loop.PhaseRun, "step", None)
    with pytest.raises(ValueError, match=says):
        loop.train(make_run(tmp_path, *changes))


def test_the_objectives_are_weighted_means_over_targets(make_run, tmp_path, monkeypatch):
    """The step's loss and gradient are those of the plain formula over the union of its batches."""
    seen = {}

    def watch(self):
        seen["grads"] = {n: p.grad.clone() for n, p in self.learning.items() if p.grad is not None}
        raise Killed

    monkeypatch.setattr(loop.PhaseRun, "update", watch)
    run = make_run(tmp_path, "encoder.dropout=0.0", "augment={}")
    with pytest.raises(Killed):
        loop.train(run)
    phase = phases(run.system.preset)[0]
    learner = Learner(run.system.build())
    torch.manual_seed(run.seed)
    learning = learner.begin(phase, "x", [[*phase.train]])
    data = run.data(phase)
    sampler = data.sampler(run.manifests["train"], run.seed, True)
    keys = list(islice(sampler.batches(), 2))
    examples = run.examples(phase, run.manifests["train"], True)
    batches = [b for _, b, _ in loader.batches(examples, data, keys)]
    pairs = [learner.objectives["ctc"](learner.model(batch)) for batch in batches]
    loss = sum(total for total, _ in pairs) / sum(int(count) for _, count in pairs)
    loss.backward()
    for name, grad in seen["grads"].items():
        torch.testing.assert_close(grad, learning[name].grad, rtol=1e-4, atol=1e-6)


def test_each_step_has_its_rate_its_seed_and_clipped_gradients(make_run, tmp_path, monkeypatch):
    """Rates are those of the schedule, from step 0 on; no two batches draw the same dropout."""
    rates, norms, seeds, step, forward = [], [], [], optim.Optimizer.step, CTC.forward

    def update(self, lr):
        grads = [p.grad for part in self.parts for g in part.param_groups for p in g["params"]]
        norms.append(float(torch.stack([g.norm() for g in grads if g is not None]).norm()))
        rates.append(lr)
        step(self, lr)

    def lose(self, result):
        seeds.append(torch.initial_seed())
        return forward(self, result)

    monkeypatch.setattr(optim.Optimizer, "step", update)
    monkeypatch.setattr(CTC, "forward", lose)
    monkeypatch.setattr(loop.PhaseRun, "validation", lambda self: {"valid": {"loss": 1.0}})
    run = make_run(tmp_path, "phase.encoder.clip=0.01", "phase.tune.clip=0.02")
    loop.train(run)
    plan = phases(run.system.preset)
    wanted = [optim.learning_rate(phase, n) for phase in plan for n in range(phase.steps)]
    assert rates == wanted and len(set(rates)) > 6
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "lr" in line]
    assert [line["lr"] for line in logged] == rates
    assert min(line["norm"] for line in logged) > 0.02, "else nothing would be clipped"
    assert norms == pytest.approx([0.01] * 6 + [0.02] * 6, rel=1e-3)
    assert len(seeds) == len(set(seeds)) == 24


def test_soft_tokens_start_at_the_norm_of_text_until_the_adapter_has_learned(make_run, tmp_path):
    run = make_run(tmp_path, "phase.tune.steps=2", "phase.tune.lr=0.1", "phase.tune.warmup_steps=0")
    _, tune = run.system.preset.tables["phase"]
    lora = {**tune, "name": "lora", "train": ["llm.*lora_*"]}
    preset = replace(run.system.preset, tables={**run.system.preset.tables, "phase": [tune, lora]})
    run.system = replace(run.system, preset=preset)
    loop.train(run)
    folders = [store.find(tmp_path / name) for name in ("tune", "lora")]
    files = [load_file(folder / "model.safetensors") for folder in folders]
    scales = [tensors["adapter.norm.norm.weight"] for tensors in files]
    assert torch.equal(*scales) and scales[0].std() > 0, "the first phase has trained it"


SCRIPT = "import sys; from speechllm.cli import main; sys.exit(main())"


def command(tiny, out, *more):
    data = [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid")]
    return ["train", str(tiny / "tiny.toml"), "--tokenizer", str(tiny / "bpe"), *data,
            "--out", str(out), "--workers", "0", "--device", "cpu", *more]  # fmt: skip


def test_sigkill_and_the_same_command_again(tiny, uninterrupted, tmp_path):
    """The real signal, at whatever moment it comes, then the command line resumes."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SCRIPT, *command(tiny, tmp_path / "exp")]
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
    while not store.checkpoints(tmp_path / "exp" / "encoder") and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert same(weights(tmp_path / "exp"), weights(uninterrupted))
    facts = json.loads((tmp_path / "exp" / "run.json").read_text())
    assert facts["preset"] == "tiny" and facts["seed"] == 7 and facts["seconds"] > 0


def test_two_processes_do_what_one_does(tiny, uninterrupted, tmp_path):
    """Same losses to 1e-5 and same weights to 1e-5: only the order of float sums differs."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "speechllm", *command(tiny, tmp_path / "exp")]
    words += ["--num-processes", "2"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = []
    for folder in (tmp_path / "exp", uninterrupted):
        lines = [json.loads(v) for v in (folder / "log.jsonl").read_text().splitlines()]
        losses.append([v.get("loss", v.get("valid", {}).get("loss")) for v in lines])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    one, two = weights(uninterrupted), weights(tmp_path / "exp")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_two_processes_share_out_the_rows_of_a_single_batch(make_run, tiny, tmp_path):
    """A step of one batch: no process is idle, and the step is that of one process."""
    changes = ["encoder.dropout=0.0", "phase.encoder.steps=3"]
    changes += [f"phase.{name}.gradient_accumulation=1" for name in ("encoder", "tune")]
    loop.train(make_run(tmp_path / "one", *changes), until="encoder")
    words = [sys.executable, "-m", "speechllm", *command(tiny, tmp_path / "two")]
    words += ["--num-processes", "2", "--until", "encoder"]
    words += [word for change in changes for word in ("--set", change)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("2 processes for gradient_accumulation = 1: each batch is shared") == 1
    assert done.stdout.count("phase encoder: done") == 1
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_full_disk_under_the_log_names_it(make_run, tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    report = loop.PhaseRun.report

    def full(self, values):
        self.log.path.symlink_to("/dev/full")
        report(self, values)

    monkeypatch.setattr(loop.PhaseRun, "report", full)
    with pytest.raises(OSError, match=r"log\.jsonl: cannot be written: No space left on device"):
        loop.train(make_run(tmp_path / "exp"))


def test_one_training_an_experiment_and_what_a_kill_left_is_cleared(make_run, tmp_path):
    out = tmp_path / "exp"
    with lock.hold(out), pytest.raises(ValueError, match="writes there already; .*another --out"):
        loop.train(make_run(out))
    for name in ("encoder/.step-00000003.77.tmp", ".phases.json.77.tmp", "tune/.x.77.tmp"):
        (out / name).mkdir(parents=True)
    loop.train(make_run(out), until="encoder")
    assert not [path for path in out.rglob(".*") if path.name != ".gitignore"]


def test_quantized_weights_are_refused(make_run, tmp_path):
    """Before any step; LoRA beside them may learn."""
    run = make_run(tmp_path)
    learner = Learner(run.system.build())
    layer = learner.model.llm.model.layers[0].mlp.up_proj
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.uint8), requires_grad=False)
    phase = replace(phases(run.system.preset)[1], train=("llm.*",))
    with pytest.raises(ValueError, match=r"quantized weights cannot learn.*up_proj.weight"):
        learner.begin(phase, "test", [["llm.*"]])
    assert learner.begin(replace(phase, train=("llm.*lora_*",)), "test", [["llm.*lora_*"]])
