"""AdamW, its schedule, and its state as plain tensors (no pickle)."""

import math

import torch
from torch import nn

from speechllm.train.stages import Stage


def make(stage: Stage, learning: dict[str, nn.Parameter]) -> torch.optim.AdamW:
    """Make AdamW; matrices decay, vectors (norms, biases) do not."""
    matrices = [p for p in learning.values() if p.ndim > 1]
    vectors = [p for p in learning.values() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": stage.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, stage.beta2), fused=True)


def learning_rate(stage: Stage, step: int) -> float:
    """Learning rate of optimiser step `step` (from 0): linear warm-up, then the schedule."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.lr
    done = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if stage.schedule == "cosine" else 1 - done
    return stage.lr * (stage.final_lr_ratio + (1 - stage.final_lr_ratio) * shape)


def state(optimizer: torch.optim.Optimizer, learning: dict[str, nn.Parameter]) -> dict:
    """Return the optimiser's tensors by `parameter name:entry`."""
    return {
        f"{name}:{entry}": value
        for name, parameter in learning.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def restore(optimizer, learning: dict[str, nn.Parameter], tensors: dict) -> None:
    """Put tensors of `state` back, to the bit."""
    for key, value in tensors.items():
        name, entry = key.rsplit(":", 1)
        optimizer.state[learning[name]][entry] = value.to(learning[name].device, copy=True)
