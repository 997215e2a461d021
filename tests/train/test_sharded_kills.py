"""A process killed while all write a sharded checkpoint: the one before stays, and goes on as ever.

pytest tests/train/test_sharded_kills.py --slow      # all five moments; five seconds each
"""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.fsdp  # noqa: F401  # before the processes part
from torch.distributed.checkpoint import HuggingFaceStorageWriter

from speechllm.models import store, whole
from speechllm.models.shards import Tensors
from speechllm.train import loop, parallel, saving, sharded  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))
from processes import together  # noqa: E402

CHANGES = ("phase.encoder.steps=4", "phase.encoder.valid_every=2", "augment={}")
MOMENTS = {  # which process, and before or after what
    "nothing of its part is there": (1, "write_data", True),
    "its part is there, and nobody knows": (1, "write_data", False),
    "the first one's part is not there": (0, "write_data", True),
    "all parts are there, in no folder": (0, "shards.tmp", True),
    "the folder has no name": (0, "step-00000004", True),
}
QUICK = "its part is there, and nobody knows"


def dying(moment):
    """Let this process be killed at a moment of its second save."""
    rank, what, before = MOMENTS[moment]
    if int(os.environ["RANK"]) != rank:
        return
    if what == "write_data":
        write_data, saves = HuggingFaceStorageWriter.write_data, []

        def write(self, *args):
            saves.append(1)
            if before and len(saves) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            future = write_data(self, *args)
            future.wait()
            if len(saves) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return future

        HuggingFaceStorageWriter.write_data = write
        return

    def hook(event, args):
        names = [Path(str(place)).name for place in args[:2]]
        step = "step-00000004"
        if event == "os.rename" and step in str(args[0]) and names[what == step].endswith(what):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def train(make_run, out, moment=None):
    """Two processes learn a phase by FSDP2."""

    def job(rank):
        if moment:
            dying(moment)
        run = make_run(out, *CHANGES, parallel=parallel.Config("fsdp"))
        loop.train(run, until="encoder")

    together(2, job, out.with_suffix(".said"))


def contents(out):
    """Return losses and the last checkpoint's tensors."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    folder = store.checkpoints(out / "encoder")[-1]
    spread = [Tensors(folder / f"{stem}.safetensors") for stem in ("model", "optimizer")]
    tensors = {name: one.tensor(name) for one in spread for name in one.parts}
    return [(v["step"], v.get("loss"), v.get("valid")) for v in lines], tensors


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    return tmp_path_factory.mktemp("unkilled") / "exp"


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_in_the_middle_of_a_save(make_run, unkilled, tmp_path, request, moment):
    if moment != QUICK:
        request.getfixturevalue("slow")
    if not unkilled.exists():
        train(make_run, unkilled)
    out = tmp_path / "exp"
    with pytest.raises(AssertionError):  # the other one ends too, or is stopped
        train(make_run, out, moment)
    (kept,) = store.checkpoints(out / "encoder")
    assert kept.name.startswith("step-00000002")
    whole.verify(kept)
    train(make_run, out)
    wanted, found = contents(unkilled), contents(out)
    assert found[0] == wanted[0] and found[1].keys() == wanted[1].keys()
    assert all(torch.equal(value, found[1][name]) for name, value in wanted[1].items())
    assert not [*(out / "encoder").glob(".*")]
