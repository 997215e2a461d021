"""A process of a training is killed: torchrun starts them again, and the losses are as they were.

pytest tests/train/test_elastic.py --slow      # one of four, at ten random moments
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from speechllm.models import store
from speechllm.train import loop

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import together  # noqa: E402

STEPS = 8


def run(tiny, out, n, kills, seed=0):
    """Train under torchrun, killing one process `kills` times; return how often it was."""
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n),
             "--max-restarts", str(kills + 2), "--monitor-interval", "0.2", "--master-port", "0",
             "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0",
             "-m", "speechllm", "train", str(tiny / "tiny.toml"), "--tokenizer", str(tiny / "bpe"),
             "--out", str(out), "--workers", "0", "--device", "cpu", "--save-minutes", "0.02",
             *(f"--set=phase.{name}.steps={STEPS}" for name in ("encoder", "tune"))]  # fmt: skip
    words += [f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid")]
    rng, done = random.Random(seed), 0
    with open(out.with_suffix(".said"), "w") as said:
        agent = subprocess.Popen(words, env={**os.environ, "OMP_NUM_THREADS": "1"},
                                 stdout=said, stderr=said)  # fmt: skip
        while done < kills and agent.poll() is None:
            before = lines(out)
            while lines(out) < before + rng.randint(1, 3) and agent.poll() is None:
                time.sleep(0.02)
            time.sleep(rng.random() * 0.3)
            workers = psutil.Process(agent.pid).children() if agent.poll() is None else []
            if workers:
                victim = rng.choice(sorted(workers, key=lambda p: p.pid))
                victim.send_signal(signal.SIGKILL)
                done += 1
        agent.wait(600)
    assert agent.returncode == 0, out.with_suffix(".said").read_text()[-3000:]
    return done


def lines(out):
    log = out / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


@pytest.mark.parametrize(("n", "kills"), [(2, 1), (4, 10)])
def test_the_losses_are_those_of_a_run_without_a_kill(make_run, tiny, tmp_path, request, n, kills):
    if n > 2:
        request.getfixturevalue("slow")
    changes = [f"phase.{name}.steps={STEPS}" for name in ("encoder", "tune")]
    together(n, lambda rank: loop.train(make_run(tmp_path / "whole", *changes)) and None,
             tmp_path / "said")  # fmt: skip
    assert run(tiny, tmp_path / "killed", n, kills) == kills
    losses, weights = [], []
    for name in ("whole", "killed"):
        log = [json.loads(v) for v in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        losses.append([(v["phase"], v["step"], v.get("loss"), v.get("valid")) for v in log])
        weights.append(load_file(store.find(tmp_path / name) / "model.safetensors"))
    assert losses[0] == losses[1]
    assert all((value == weights[1][name]).all() for name, value in weights[0].items())
