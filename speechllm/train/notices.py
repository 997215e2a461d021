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
from speechllm.train.run import Run
from speechllm.train.stages import Stage


def before(run: Run, plan: list[Stage], last: int, named: dict) -> list[str]:
    """List what is to be said of a training.

    Args:
        run: with the manifests.
        plan: all its stages.
        last: how many of them will run.
        named: the model's parameters by name.
    """
    lines = [line for stage in plan[:last] for line in _of_stage(run, stage)]
    return list(dict.fromkeys([*lines, *_untrained(plan, named)]))  # stages share manifests


def after(stage: Stage, optimizer: optim.Optimizer) -> list[str]:
    """List what is to be said when a stage has ended: LoRA that its layers pass by."""
    names = optim.unmoved(optimizer, "lora_")
    if not names:
        return []
    return [
        f"stage {stage.name}: {len(names)} LoRA weights never had a gradient, {names[0]} first: "
        "their layer is read past, or not at all; choose other targets"
    ]


def _of_stage(run: Run, stage: Stage) -> Iterator[str]:
    if stage.warmup_steps >= stage.steps:
        yield (
            f"stage {stage.name}: warmup_steps = {stage.warmup_steps} of {stage.steps} steps: the "
            f"rate {stage.lr:g} never arrives, the last step has "
            f"{stage.lr * stage.steps / stage.warmup_steps:g}"
        )
    for name in dict.fromkeys((*run.sources(stage, True), *run.sources(stage, False))):
        if line := outside(run.manifests[name], run.data(stage)):
            yield line
    for learning in (True, False):
        for part in run.parts(stage, learning).values():
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


def _untrained(plan: list[Stage], named: dict) -> Iterator[str]:
    """Name LoRAs that have learned nothing and of which no stage trains anything."""
    owners = {name: owner for name in named if (owner := lora.owner(name))}
    ups = {owner for name, owner in owners.items() if "lora_B" in name and bool(named[name].any())}
    trained = {o for name, o in owners.items() if any(matches(name, s.train) for s in plan)} | ups
    for part, name in sorted(set(owners.values()) - trained):
        yield (
            f"{part}.lora {name!r}: no stage trains it; "
            f'stage.NAME.train wants a pattern such as "{part}.*lora_*"'
        )
