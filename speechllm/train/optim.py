"""AdamW and Muon, their schedule, and their state as plain tensors (no pickle)."""

import math

import torch
from torch import nn

from speechllm.train.stages import Stage


class Optimizer:
    """One or two optimisers of torch that step together and share a learning rate.

    Args:
        parts: the optimisers, over disjoint parameters.
    """

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts

    def step(self, lr: float) -> None:
        """Do one step at learning rate `lr` and drop the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)

    def of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """Return the optimiser that a parameter belongs to."""
        return next(
            part
            for part in self.parts
            if any(parameter is p for group in part.param_groups for p in group["params"])
        )


def make(stage: Stage, learning: dict[str, nn.Parameter]) -> Optimizer:
    """Make the stage's optimiser.

    "adamw": AdamW; matrices decay, vectors (norms, biases) do not. "muon": the weight matrices of
    hidden layers by Muon (Jordan et al. 2024, steps scaled to AdamW's size as in arXiv 2502.16982),
    all else (embeddings, heads, convolutions, vectors) by AdamW.

    Raises:
        ValueError: "muon" with a torch that has none (before 2.9).
    """
    hidden = {n: p for n, p in learning.items() if stage.optimizer == "muon" and _hidden(n, p)}
    rest = [p for name, p in learning.items() if name not in hidden]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": stage.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    parts: list[torch.optim.Optimizer] = []
    if groups:
        parts.append(torch.optim.AdamW(groups, betas=(0.9, stage.beta2), fused=True))
    if hidden:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"stage {stage.name}: optimizer muon needs torch 2.9 or newer")
        parts.append(
            torch.optim.Muon(
                list(hidden.values()),
                weight_decay=stage.weight_decay,
                adjust_lr_fn="match_rms_adamw",
                ns_steps=3,  # of 5: a small model's step is a seventh faster; LOG.md, mini
            )
        )
    return Optimizer(parts)


def _hidden(name: str, parameter: nn.Parameter) -> bool:
    """Say whether Muon is for this parameter: a matrix between hidden layers, and not LoRA's."""
    outer = ("objectives.", "lora_", "embed", "head.")
    return parameter.ndim == 2 and not any(word in name for word in outer)


def learning_rate(stage: Stage, step: int) -> float:
    """Learning rate of optimiser step `step` (from 0): linear warm-up, then the schedule."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.lr
    done = (step - stage.warmup_steps) / max(stage.steps - stage.warmup_steps, 1)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if stage.schedule == "cosine" else 1 - done
    return stage.lr * (stage.final_lr_ratio + (1 - stage.final_lr_ratio) * shape)


def state(optimizer: Optimizer, learning: dict[str, nn.Parameter]) -> dict:
    """Return the optimiser's tensors by `parameter name:entry`."""
    return {
        f"{name}:{entry}": value
        for name, parameter in learning.items()
        for entry, value in optimizer.of(parameter).state.get(parameter, {}).items()
    }


def restore(optimizer: Optimizer, learning: dict[str, nn.Parameter], tensors: dict) -> None:
    """Put tensors of `state` back, to the bit."""
    for key, value in tensors.items():
        name, entry = key.rsplit(":", 1)
        parameter = learning[name]
        optimizer.of(parameter).state[parameter][entry] = value.to(parameter.device, copy=True)
