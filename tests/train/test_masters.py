"""Weights of 16 bits learn as float32 ones do: masters, through clip, accumulation, resuming."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from speechllm.models import anatomy, kernels, store, tiny
from speechllm.train import loop, memory, optim
from speechllm.train.phases import Phase

STEPS = 300
SLOW = 1e-5  # a published rate of full tuning: each step is far below half a unit of bfloat16
BF16 = ("llm.dtype=bfloat16", "phase.tune.train=['adapter.*', 'llm.*']", "phase.tune.lr=1e-5")


def phase(**settings):
    plain = {"name": "x", "train": ("*",), "objectives": {"ctc": {}}, "steps": STEPS, "lr": SLOW}
    return Phase(**{**plain, **settings})


def learn(dtype, optimizer, parts=2):
    """Train weights on given gradients, each a sum of `parts`; return them and the optimiser."""
    torch.manual_seed(0)
    shapes = {"llm.q_proj.weight": (16, 16), "llm.norm.weight": (16,), "llm.embed.weight": (9, 16)}
    start = {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}
    weights = {name: nn.Parameter(value.to(dtype)) for name, value in start.items()}
    made = optim.make(phase(optimizer=optimizer), weights)
    for number in range(STEPS):
        torch.manual_seed(number)
        for _ in range(parts):
            with made.gathering():
                # the very gradients of a float32 run, as far as 16 bits can hold them
                loss = sum((w * torch.rand_like(w, dtype=torch.bfloat16).to(dtype)).sum()
                           for w in weights.values())  # fmt: skip
                loss.backward()
        nn.utils.clip_grad_norm_(made.stepped.values(), 1.0)
        made.step(SLOW)
    return start, weights, made


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_change_is_that_of_float32_to_the_bit_of_bfloat16(optimizer):
    """With the same gradients the masters are the float32 run, and the weights that, rounded."""
    start, whole, _ = learn(torch.float32, optimizer)
    _, rounded, made = learn(torch.bfloat16, optimizer)
    for name, weight in whole.items():
        assert torch.equal(made.masters[name], weight), name
        assert torch.equal(rounded[name], weight.bfloat16()), name
        assert rounded[name].dtype == torch.bfloat16
    moved = torch.cat([(rounded[n] != start[n]).flatten() for n in start]).float().mean()
    assert moved > 0.2  # without masters, next to none


def test_without_masters_nothing_moves():
    """What this is for: torch's AdamW on bfloat16 at this rate loses every step."""
    weight = nn.Parameter(1 + torch.rand(64, dtype=torch.bfloat16))
    before, plain = weight.detach().clone(), torch.optim.AdamW([weight], lr=SLOW, weight_decay=0)
    for _ in range(STEPS):
        weight.grad = torch.ones_like(weight)
        plain.step()
    assert torch.equal(before, weight)


def tensors(folder):
    files = sorted(store.find(folder).glob("*.safetensors"))
    return {f"{f.stem}/{k}": v for f in files for k, v in load_file(f).items()}


@pytest.mark.skipif(not kernels.has_bf16(), reason="no bfloat16 kernels on this machine")
def test_a_training_in_bfloat16_moves_as_float32_does(make_run, tmp_path):
    """The same steps from the same weights: the two changes are one, but for 16-bit passes."""
    found = {}
    for dtype in ("bfloat16", "float32"):
        out = tmp_path / dtype
        changes = (*BF16, f"llm.dtype={dtype}", "augment={}", "encoder.dropout=0.0")
        steps = ("phase.tune.steps=40", "phase.tune.valid_every=40", "phase.encoder.steps=1")
        run = make_run(out, *changes, *steps)
        torch.manual_seed(0)
        job = loop.PhaseRun  # both start from weights that bfloat16 can hold
        begin = {}

        class Rounded(job):
            def go(self, begin=begin):
                with torch.no_grad():
                    for name, weight in self.optimizer.stepped.items():
                        if name.startswith("llm."):
                            weight.copy_(weight.bfloat16())
                            self.optimizer.weights[name].copy_(weight)
                            begin[name] = weight.detach().clone()
                super().go()

        loop.PhaseRun = Rounded
        try:
            loop.train(run)
        finally:
            loop.PhaseRun = job
        state = load_file(store.find(out) / "optimizer.safetensors")
        model = load_file(store.find(out) / "model.safetensors")
        if dtype == "bfloat16":
            last = {n: state[f"{n}:master"] for n in begin if f"{n}:master" in state}
            for name, master in last.items():
                assert torch.equal(model[name], master.bfloat16())
        else:
            last = {n: model[n] for n in begin if n in model}
        found[dtype] = {n: (last[n] - begin[n]).flatten() for n in last if "lora_" not in n}
    ours, theirs = (torch.cat([*found[d].values()]) for d in ("bfloat16", "float32"))
    assert found["bfloat16"].keys() == found["float32"].keys() and len(theirs) > 10_000
    assert ours.norm() == pytest.approx(theirs.norm().item(), rel=0.05)
    assert nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.95


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.skipif(not kernels.has_bf16(), reason="no bfloat16 kernels on this machine")
def test_masters_are_saved_and_resumed_to_the_bit(make_run, tmp_path, monkeypatch):
    loop.train(make_run(tmp_path / "whole", *BF16))
    step, done = loop.PhaseRun.step, [0]

    def dying(self, taken):
        done[0] += 1
        if done[0] == 11:  # in the second phase, two steps after its checkpoint
            raise Killed
        return step(self, taken)

    monkeypatch.setattr(loop.PhaseRun, "step", dying)
    with pytest.raises(Killed):
        loop.train(make_run(tmp_path / "killed", *BF16))
    monkeypatch.setattr(loop.PhaseRun, "step", step)
    loop.train(make_run(tmp_path / "killed", *BF16))
    one, two = tensors(tmp_path / "whole"), tensors(tmp_path / "killed")
    assert any(key.endswith(":master") for key in one)
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_the_estimate_counts_masters():
    """Of a bfloat16 LLM that learns whole: 2 bytes of weight, 4 of gradient, 12 kept."""
    from speechllm import config

    preset = config.load("qwen2_audio")
    system, whole = tiny.system(preset), anatomy.outline(preset)
    pairs = zip(memory.each_phase(system, system.build()), memory.each_phase(*whole), strict=True)
    (phase, small), (_, large) = next(pair for pair in pairs if "llm.*" in pair[0][0].train)
    learning = [p for p in large.parameters() if p.requires_grad]
    n = {bits: sum(p.numel() for p in learning if p.itemsize == bits) for bits in (2, 4)}
    found = memory.training(small, large, phase, memory.batch_of(system, phase, 1, 1.0), True)
    assert n[2] > 7e9 and found.gradients == 4 * (n[2] + n[4])
    assert found.optimizer == 12 * n[2] + 8 * n[4]


@pytest.mark.skipif(not kernels.has_bf16(), reason="no bfloat16 kernels on this machine")
def test_two_processes_sum_and_clip_the_masters_gradients(make_run, tiny, tmp_path):
    """Gradients of both are summed in float32: their masters are those of one process."""
    clip = [f"phase.{name}.clip=0.05" for name in ("encoder", "tune")]
    loop.train(make_run(tmp_path / "one", *BF16, *clip))
    words = [sys.executable, "-m", "speechllm", "train", str(tiny / "tiny.toml"), "--out",
             str(tmp_path / "two"), "--tokenizer", str(tiny / "bpe"), "--workers", "0",
             "--device", "cpu", "--num-processes", "2"]  # fmt: skip
    words += [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid")]
    words += [word for change in (*BF16, *clip) for word in ("--set", change)]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    masters = [key for key in one if key.endswith(":master")]
    assert masters and one.keys() == two.keys()
    for name in masters:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5, msg=name)
