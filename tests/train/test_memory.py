"""The memory estimate against what is measured: every live byte of a real pass of small models."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from speechllm import config
from speechllm.models import generation, tiny
from speechllm.train import memory
from speechllm.train.stages import Learner, stages

FACTOR = 2.0  # what README and `presets show` promise


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside it, and the most that lived at once."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor.untyped_storage())
        return out

    def add(self, storage):
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.drop, key, storage.nbytes())

    def drop(self, key, size):
        self.known.discard(key)
        self.now -= size


def begun(preset, stage, model):
    learner = Learner(model)
    learner.begin(stage, "test", [list(stage.train)])
    return learner


@pytest.mark.parametrize("name", config.presets())
def test_training_within_the_factor(name):
    system = tiny.system(config.load(name))
    for stage in stages(system.preset):
        batch = memory.batch_of(system, stage, 2, 6.0)
        learner = begun(system.preset, stage, system.build())
        estimate = memory.training(learner, learner, stage, batch, bf16=False)
        with Live() as live:
            loss = sum(memory._losses(learner, stage, batch))
            loss.backward()
        print(
            "RATIO",
            name,
            stage.name,
            estimate.activations,
            estimate.gradients,
            live.peak,
            round(live.peak / (estimate.activations + estimate.gradients), 2),
            file=open("/tmp/z1_ratio", "a"),
        )
