"""Training checkpoints: `EXP/STAGE/step-000120/`, whole or absent; the newest one resumes.

Beside the model folder of `models/store.py` stand the objectives' heads and the optimiser's state,
all as safetensors. `EXP/STAGE/best.json` names the best step. A run killed anywhere, also inside a
save, leaves the checkpoint before it.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file

from speechllm import config, files
from speechllm.models import store
from speechllm.train import optim
from speechllm.train.stages import Learner, Stage


@dataclass
class Progress:
    """Where a stage stands: what a resumed run must know beside tensors."""

    step: int = 0
    seconds: float = 0.0
    audio_s: float = 0.0
    best: float = float("inf")
    best_step: int = -1
    errors: list = field(default_factory=list)


def save(folder: Path, system, learner: Learner, optimizer, learning, trained, progress) -> None:
    """Save a checkpoint at `progress.step`, and drop those that are neither newest nor best."""
    target = folder / f"step-{progress.step:08d}"
    if not target.exists():
        tensors = {
            "model": store.state(system, learner.model, trained),
            "objectives": learner.objectives.state_dict(),
            "optimizer": optim.state(optimizer, learning),
        }
        store.save(target, system, tensors, {"trained": trained, "progress": vars(progress)})
    files.write_json(folder / "best.json", {"step": progress.best_step})
    for old in store.checkpoints(folder):
        if old.name not in (target.name, f"step-{progress.best_step:08d}"):
            shutil.rmtree(old)


def load_weights(folder: Path, system, learner: Learner) -> None:
    """Load model weights, and the heads of the objectives, for the next stage to begin from."""
    wanted = store.state(system, learner.model, store.facts(folder)["trained"])
    store.fill(learner.model, wanted, folder / "model.safetensors")
    heads = load_file(folder / "objectives.safetensors")
    learner.objectives.load_state_dict(heads, strict=False)


def resume(folder: Path, system, learner: Learner, optimizer, learning) -> Progress:
    """Go on from a stage's newest checkpoint, if there is one; weights, optimiser, progress.

    Raises:
        ValueError: the checkpoint was made by another preset (the differing settings are listed).
    """
    found = store.checkpoints(folder)
    if not found:
        return Progress()
    same_preset(found[-1], system.preset, folder.name)
    load_weights(found[-1], system, learner)
    optim.restore(optimizer, learning, load_file(found[-1] / "optimizer.safetensors"))
    return Progress(**store.facts(found[-1])["progress"])


def same_preset(folder: Path, preset: config.Preset, stage: str) -> None:
    """Refuse to go on with another preset than the one that made the checkpoint.

    Stages after `stage` may differ: they have not begun.
    """
    presets = config.load(folder / "preset.toml"), preset
    before, now = (_flat({**_up_to(p, stage), "preset": ""}) for p in presets)
    differing = [
        f"{key}: {before.get(key, 'nothing')} -> {now.get(key, 'nothing')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} was made with other settings ({'; '.join(differing)}); "
            "choose another --out, or remove that folder to start again"
        )


def _up_to(preset: config.Preset, stage: str) -> dict:
    """Return a preset's tables without the stages after `stage`."""
    entries = preset.tables.get("stage", [])
    names = [entry.get("name") for entry in entries]
    last = names.index(stage) + 1 if stage in names else len(names)
    return {**preset.tables, "stage": entries[:last]}


def _flat(tables, where: str = "") -> dict:
    """Give the settings of nested tables by address, as `--set` names them."""
    if isinstance(tables, list) and all(isinstance(entry, dict) for entry in tables):
        names = [entry.get("name") for entry in tables]
        known = None not in names and len(set(names)) == len(names)
        tables = dict(zip(names if known else map(str, range(len(names))), tables, strict=True))
    if not isinstance(tables, dict) or not tables:
        return {where: tables}
    inside = (_flat(value, f"{where}.{key}".lstrip(".")) for key, value in tables.items())
    return {key: value for found in inside for key, value in found.items()}


def write_order(experiment: Path, stages: list[Stage]) -> None:
    """Note the stages' order and what each hands on, for `store.find`."""
    entries = [{"name": s.name, "keep": s.keep, "steps": s.steps} for s in stages]
    files.write_json(experiment / "stages.json", entries)
