"""What will not do what it seems to, said before training; none of it is an error.

Rows that no batch will ever have, a rate that never arrives, a LoRA that nothing trains, answers
that the tokenizer cannot write. Each is one line; the lines go into `run.json` as well.
"""

from collections.abc import Iterator

import numpy as np

from speechllm.data import check
from speechllm.data.loader import Config as Data
from speechllm.data.manifest import Manifest
from speechllm.models import lora
from speechllm.models.system import matches
from speechllm.train import optim
from speechllm.train.context import Run
from speechllm.train.phases import Phase


def before(run: Run, plan: list[Phase], last: int, named: dict) -> list[str]:
    """List what is to be said of a training.

    Args:
        run: with the manifests.
        plan: all its phases.
        last: how many of them will run.
        named: the model's parameters by name.
    """
    lines = [line for phase in plan[:last] for line in _of_phase(run, phase)]
    return list(dict.fromkeys([*lines, *_untrained(plan, named)]))  # phases share manifests


def after(phase: Phase, optimizer: optim.Optimizer) -> list[str]:
    """List what is to be said when a phase has ended: LoRA that its layers pass by."""
    names = optim.unmoved(optimizer, "lora_")
    if not names:
        return []
    return [
        f"phase {phase.name}: {len(names)} LoRA weights never had a gradient, {names[0]} first: "
        "their layer is read past, or not at all; choose other targets"
    ]


def _of_phase(run: Run, phase: Phase) -> Iterator[str]:
    if phase.warmup_steps >= phase.steps:
        yield (
            f"phase {phase.name}: warmup_steps = {phase.warmup_steps} of {phase.steps} steps: the "
            f"rate {phase.lr:g} never arrives, the last step has "
            f"{phase.lr * phase.steps / phase.warmup_steps:g}"
        )
    for name in dict.fromkeys((*run.sources(phase, True), *run.sources(phase, False))):
        if line := outside(run.manifests[name], run.data(phase)):
            yield line
    for learning in (True, False):
        for part in run.parts(phase, learning).values():
            if line := check.unspelled(part):
                yield line


def outside(manifest: Manifest, data: Data) -> str:
    """Say how many rows of a manifest are too short or too long to be used; "" where none is."""
    out = len(manifest) - len(data.select(manifest))
    if not out:
        return ""
    longer = ""
    if not manifest.is_large:
        n = int(np.count_nonzero(np.asarray(manifest.lengths_s) > data.max_duration_s))
        longer = f" ({out - n} shorter, {n} longer)"
    return (
        f"{manifest.path}: {out} of {len(manifest)} rows are left out, outside "
        f"{data.min_duration_s:g} to {data.max_duration_s:g} s{longer}; "
        "[data] min_duration_s and max_duration_s say so"
    )


def _untrained(plan: list[Phase], named: dict) -> Iterator[str]:
    """Name LoRAs that have learned nothing and of which no phase trains anything."""
    owners = {name: owner for name in named if (owner := lora.owner(name))}
    ups = {owner for name, owner in owners.items() if "lora_B" in name and bool(named[name].any())}
    trained = {o for name, o in owners.items() if any(matches(name, s.train) for s in plan)} | ups
    for part, name in sorted(set(owners.values()) - trained):
        yield (
            f"{part}.lora {name!r}: no phase trains it; "
            f'phase.NAME.train wants a pattern such as "{part}.*lora_*"'
        )
