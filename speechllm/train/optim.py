"""AdamW and Muon, their schedule, and their state as plain tensors (no pickle).

A weight of 16 bits would lose most steps: bfloat16 has 8 significant bits, so that a change below
1/512 of the weight rounds away, and AdamW's are of the size of the rate. Such a weight learns by a
float32 master that the optimiser keeps beside it: gradients are summed, clipped and applied there,
moments are float32, and after each step the weight is its master, rounded. (The other way, weights
in float32 that autocast rounds at each use, costs the same 16 bytes a weight; but what validation
sees would then not be what is saved and decoded with, frozen 16-bit layers beside them could not
run without autocast, and a master rounds once a step instead of once a use.)
"""

import contextlib
import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from speechllm.models.shards import Tensors
from speechllm.train.phases import Phase

_log = logging.getLogger(__name__)
NONE = {"weight_decay": 0.0}
MASTER = "master"  # entry of a checkpoint: the float32 weight


class Optimizer:
    """One or two optimisers of torch that step together and share a learning rate.

    Args:
        weights: what learns, by name.
        masters: the float32 copies of those among them that are narrower.
        parts: the optimisers, over disjoint parameters, masters in the place of their weights.
    """

    def __init__(self, weights: dict, masters: dict, parts: list[torch.optim.Optimizer]):
        self.weights, self.masters, self.parts = weights, masters, parts
        self.pairs = [(weights[name], master) for name, master in masters.items()]

    @property
    def stepped(self) -> dict[str, nn.Parameter]:
        """What the steps are done on, by name: masters, and weights that need none.

        Their gradients are the whole ones: to be summed over processes and clipped.
        """
        return self.weights | self.masters

    @contextlib.contextmanager
    def gathering(self):
        """Add each gradient to its master's, in float32, as soon as a backward pass has it."""
        handles = [
            weight.register_post_accumulate_grad_hook(functools.partial(_hand_over, master))
            for weight, master in self.pairs
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Do one step at learning rate `lr` and drop the gradients."""
        # weight (16 bits) - gradient -> master (32 bits) - optimiser -> master - rounded -> weight
        #
        # Near 1, bfloat16 knows 1 and 1.0078. A step of 0.001 a time: the weight alone stays 1 for
        # ever, the master is 1.004 after four steps, and its weight 1.0078 from then on.
        for weight, master in self.pairs:
            _hand_over(master, weight)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)
        for weight, master in self.pairs:
            weight.copy_(master)

    def of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """Return the optimiser that a parameter belongs to."""
        return next(
            part
            for part in self.parts
            if any(parameter is p for group in part.param_groups for p in group["params"])
        )


def _hand_over(master: nn.Parameter, weight: nn.Parameter) -> None:
    """Move the gradient of a weight to its master."""
    if weight.grad is None:
        return
    if master.grad is None:
        master.grad = weight.grad.float()
    else:
        master.grad += weight.grad
    weight.grad = None


def narrow(weight: torch.Tensor) -> bool:
    """Say whether a weight has too few bits to learn without a master."""
    return weight.is_floating_point() and weight.element_size() < 4


def make(phase: Phase, learning: dict[str, nn.Parameter]) -> Optimizer:
    """Make the phase's optimiser, and the masters of weights that want one.

    "adamw": AdamW; matrices decay, vectors (norms, biases) do not. "muon": the weight matrices of
    hidden layers by Muon (Jordan et al. 2024, steps scaled to AdamW's size as in arXiv 2502.16982),
    all else (embeddings, heads, convolutions, vectors) by AdamW.

    Raises:
        ValueError: "muon" with a torch that has none (before 2.9).
    """
    masters = {n: nn.Parameter(p.detach().float()) for n, p in learning.items() if narrow(p)}
    stepped = learning | masters
    hidden = {n: p for n, p in stepped.items() if phase.optimizer == "muon" and _hidden(n, p)}
    rest = [p for name, p in stepped.items() if name not in hidden]
    groups = [
        {"params": [p for p in rest if type(p) is kind and (p.ndim > 1) == matrix], **decay}
        for kind in dict.fromkeys(map(type, rest))  # fused steps mix no sharded weights with others
        for matrix, decay in ((True, {"weight_decay": phase.weight_decay}), (False, NONE))
    ]
    groups = [group for group in groups if group["params"]]
    parts: list[torch.optim.Optimizer] = []
    if groups:
        parts.append(torch.optim.AdamW(groups, betas=(0.9, phase.beta2), fused=True))
    if hidden:
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(f"phase {phase.name}: optimizer muon needs torch 2.9 or newer")
        parts.append(
            torch.optim.Muon(
                list(hidden.values()),
                weight_decay=phase.weight_decay,
                adjust_lr_fn="match_rms_adamw",
                ns_steps=3,  # of 5: a small model's step is a seventh faster; LOG.md, mini
            )
        )
    return Optimizer(learning, masters, parts)


def _hidden(name: str, parameter: nn.Parameter) -> bool:
    """Say whether Muon is for this parameter: a matrix between hidden layers, and not LoRA's."""
    outer = ("objectives.", "lora_", "embed", "head.")
    return parameter.ndim == 2 and not any(word in name for word in outer)


def learning_rate(phase: Phase, step: int) -> float:
    """Learning rate of optimiser step `step` (from 0): linear warm-up, then the schedule."""
    if step < phase.warmup_steps:
        return phase.lr * (step + 1) / phase.warmup_steps
    if phase.schedule == "constant":
        return phase.lr
    done = (step - phase.warmup_steps) / max(phase.steps - phase.warmup_steps, 1)
    shape = 0.5 * (1 + math.cos(math.pi * done)) if phase.schedule == "cosine" else 1 - done
    return phase.lr * (phase.final_lr_ratio + (1 - phase.final_lr_ratio) * shape)


def unmoved(optimizer: Optimizer, word: str) -> list[str]:
    """List what never had a gradient, of those with `word` in their names."""
    return [
        name
        for name, stepped in optimizer.stepped.items()
        if word in name and not optimizer.of(stepped).state.get(stepped)
    ]


def state(optimizer: Optimizer) -> dict:
    """Return the optimiser's tensors by `parameter name:entry`, masters among them."""
    tensors = {}
    for name, stepped in optimizer.stepped.items():
        entries = dict(optimizer.of(stepped).state.get(stepped, {}))
        if name in optimizer.masters:
            entries[MASTER] = stepped.detach()
        tensors |= {f"{name}:{entry}": value for entry, value in entries.items()}
    return tensors


def load(optimizer: Optimizer, file: Path, complete: bool, part: Callable) -> None:
    """Read a file of `state`, check it, and put it back.

    Args:
        optimizer: of the phase.
        file: safetensors.
        part: (value, parameter) -> this process's part of a value, on the parameter's device.
        complete: the file is known to be as it was written. Else parameters without any entry are
            told of: either they never had a gradient, or their entries were lost.

    Raises:
        ValueError: the file is damaged; an entry is missing, of another shape, or of nothing that
            learns; names file and entry.
    """
    there = Tensors(file)
    tensors = {_renamed(key): there.tensor(key) for key in there.parts}
    _check(optimizer, tensors, str(file))
    bare = sorted(optimizer.stepped.keys() - {key.rpartition(":")[0] for key in tensors})
    if bare and not complete:
        _log.warning(
            "%s: nothing of %s and %d more, which begin anew; right only if they never had a "
            "gradient", file, bare[0], len(bare) - 1,
        )  # fmt: skip
    restore(optimizer, tensors, part)


def _renamed(key: str) -> str:
    """Give the name of today: the CTC head was its objective's own."""
    old = "objectives.ctc.head."
    return "heads.ctc.head." + key.removeprefix(old) if key.startswith(old) else key


def _check(optimizer: Optimizer, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Refuse what does not fit: torch's fused steps read beyond a tensor that is too small."""
    entries: dict[str, set] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition(":")
        if name not in optimizer.stepped:
            raise ValueError(f"{where}: {key!r} is of no parameter that learns in this phase")
        shape = tuple(optimizer.stepped[name].shape) if entry != "step" else ()
        if tuple(value.shape) != shape or not value.is_floating_point():
            raise ValueError(f"{where}: {key!r} is {_form(value)}, wanted numbers of shape {shape}")
        entries.setdefault(name, set()).add(entry)
    for part in optimizer.parts:
        own = {id(p) for group in part.param_groups for p in group["params"]}
        # AdamW keeps three entries, Muon one: what one parameter has, all of its optimiser have
        names = [name for name in entries if id(optimizer.stepped[name]) in own]
        everything = set().union(*(entries[name] for name in names)) - {MASTER}
        for name in names:
            if lacking := sorted(everything - entries[name]):
                raise ValueError(f"{where}: {name}:{lacking[0]} is missing, though others have it")


def _form(value: torch.Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


@torch.no_grad()
def restore(optimizer: Optimizer, tensors: dict, part: Callable) -> None:
    """Put tensors of `state` back, to the bit; the weights have been loaded already."""
    # a file of before masters existed has none: they begin at the weights then
    for weight, master in optimizer.pairs:
        master.copy_(weight)
    for key, value in tensors.items():
        name, entry = key.rsplit(":", 1)
        stepped = optimizer.stepped[name]
        if entry == MASTER:
            stepped.copy_(part(value, stepped))
        elif value.ndim:
            optimizer.of(stepped).state[stepped][entry] = part(value, stepped)
        else:  # the number of steps
            optimizer.of(stepped).state[stepped][entry] = value.to(stepped.device, copy=True)
