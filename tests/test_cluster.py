"""The Slurm scripts, under commands that stand in for Slurm's: two processes, two parts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from speechllm.data.manifest import Manifest
from speechllm.models import store

ROOT = Path(__file__).parents[1] / "egs" / "cluster"
SRUN = """#!/usr/bin/env bash
[ "${1#--}" = "$1" ] || shift
for i in $(seq 0 $((SLURM_NTASKS - 1))); do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "${status:-0}"
"""
SCONTROL = '#!/usr/bin/env bash\n[ "$1" = show ] && echo localhost || echo "$@" >> "$REQUEUED"\n'


@pytest.fixture
def slurm(tmp_path):
    """Return a function that runs a script as Slurm would."""
    if not shutil.which("bash"):
        pytest.skip("the scripts are bash, which is not here")
    home, python = tmp_path / "bin", f'#!/bin/sh\nexec {sys.executable} -m speechllm "$@"\n'
    home.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("speechllm", python)):
        (home / name).write_text(text)
        (home / name).chmod(0o755)

    def run(script, *words, **values):
        env = {**os.environ, "PATH": f"{home}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
               "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "localhost",
               "REQUEUED": str(tmp_path / "requeued"), **values}  # fmt: skip
        words = ["bash", str(ROOT / script), *map(str, words)]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)

    return run


def test_shellcheck_has_nothing_to_say():
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here")
    scripts = sorted(map(str, ROOT.glob("*.sbatch")))
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert len(scripts) == 2 and done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["train.sbatch", "decode.sbatch"])
def test_without_words_it_says_how(slurm, script):
    done = slurm(script)
    assert done.returncode == 2 and f"egs/cluster/{script}" in done.stdout


def test_trained_by_two_and_decoded_in_two_parts(slurm, tiny, tmp_path):
    out, manifest = tmp_path / "exp", tmp_path / "valid.jsonl"
    shutil.copy(tiny / "valid.jsonl", manifest)
    for wave in tiny.glob("valid*.wav"):
        shutil.copy(wave, tmp_path)
    words = [tiny / "tiny.toml", "--tokenizer", tiny / "bpe", "--out", out, "--workers", "0",
             "--device", "cpu", "--set", "phase.encoder.steps=1", "--until", "encoder",
             *(f"--data={name}={tiny}/{name}.jsonl" for name in ("train", "valid"))]  # fmt: skip
    done = slurm("train.sbatch", *words, SLURM_NTASKS="2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert store.checkpoints(out / "encoder") and not (tmp_path / "requeued").exists()
    for i in (1, 2):
        array = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
        done = slurm("decode.sbatch", out, manifest, tmp_path / "hyp", "--workers", "0", "--device",
                     "cpu", SLURM_NTASKS="1", SLURM_ARRAY_TASK_ID=str(i), **array)  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    answered = [
        json.loads(line)["id"]
        for part in (tmp_path / "hyp").glob("part-*/hyp.jsonl")
        for line in part.read_text().splitlines()
    ]
    assert sorted(answered) == sorted(Manifest(manifest).ids)
