"""Processes that cannot train together say so in one line that names the one at fault."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

from speechllm import cli
from speechllm.train import launch

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import together  # noqa: E402


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        values = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": port}
        for name, value in {**values, "MASTER_ADDR": "127.0.0.1"}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ValueError, match=f"^the others are not found at 127.0.0.1:{port}: .*"):
            launch.meet(cpu=True)


def test_one_with_a_gpu_and_one_without(tmp_path):
    def job(rank):
        torch.cuda.is_available = lambda: rank == 1
        with pytest.raises(ValueError, match="^process 1 speaks nccl, process 0 gloo: some have"):
            launch.meet(cpu=False)

    together(2, job, tmp_path)


def test_they_meet_again_where_torchrun_keeps_its_store(tmp_path):
    """Under keys of the attempt: what the one before has left is not read."""

    def job(rank):
        os.environ["TORCHELASTIC_RESTART_COUNT"] = "3"
        launch.meet(cpu=True)
        total = torch.tensor(1.0 + rank)
        torch.distributed.all_reduce(total)
        return total.item()

    assert together(2, job, tmp_path) == [3.0, 3.0]


def test_errors_of_torchruns_processes_name_theirs(monkeypatch):
    monkeypatch.delenv(launch.CHILD, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "5")
    with pytest.raises(ValueError, match="^process 5: shards/a.tar: no such shard"):
        with launch.member():
            raise ValueError("shards/a.tar: no such shard")
    with pytest.raises(ValueError, match="^process 5: another process has ended, and says why$"):
        with launch.member():
            raise RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="size mismatch"):
        with launch.member():
            raise RuntimeError("size mismatch")


def test_a_manifest_that_one_process_has_not_is_said_with_its_name(monkeypatch, capsys):
    monkeypatch.delenv(launch.CHILD, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "5")
    assert cli.main(["train", "mini", "--data", "train=absent.jsonl", "--out", "exp"]) == 2
    assert "process 5: --data wants NAME=MANIFEST, an existing file" in capsys.readouterr().err


def test_alone_nobody_is_waited_for(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    launch.meet(cpu=True)
    assert not torch.distributed.is_initialized()
