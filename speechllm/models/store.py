"""Model folders: safetensors, TOML and JSON; loud about every key that is missing or too many.

    preset.toml  tokenizer/  model.safetensors  [objectives.safetensors]  checkpoint.json

An experiment keeps such folders as `EXP/PHASE/step-00000120/`, the newest and the best of a phase;
which that is stands in the newest. `phases.json` gives the order of the phases and what each hands
on. `find` says which one to use.

What several processes hold in parts (FSDP2) they write in parts: `shards/*.safetensors` stand in
the place of the files then, and are read as if they were those.

Weights of pretrained parts that were never trained are not copied into the folder; they come from
where the preset says. Everything else must be there, and nothing besides.
"""

import contextlib
import errno
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from speechllm import config, files
from speechllm.models import filling, heads, whole
from speechllm.models.model import SpeechLLM
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer

ORDERS = ("phases.json", "stages.json")  # the second is of experiments of before
STEP = re.compile(r"step-(\d{8})(-unvalidated)?$")
LOOKS = 5  # at a phase whose checkpoints change under our eyes
_log = logging.getLogger(__name__)


def checkpoints(phase_folder: Path) -> list[Path]:
    """List the checkpoints of a phase, oldest first; an unvalidated one before its successor."""
    folders = phase_folder.glob("step-*") if phase_folder.is_dir() else []
    steps = {folder: STEP.match(folder.name) for folder in folders}
    return sorted(
        (folder for folder, match in steps.items() if match and folder.is_dir()),
        key=lambda folder: (steps[folder][1], not steps[folder][2]),
    )


def chosen(phase_folder: Path, keep: str, strict: bool = False) -> Path:
    """Return the checkpoint of a phase that goes on: its best or its last.

    Which is the best stands in the newest, so that one rename decides on both. Where it is damaged
    the newest whole one is taken, and said; `strict` refuses that. Where a training goes on there,
    and removes what its next one has surpassed, it is looked for anew.

    Raises:
        ValueError: the phase has no checkpoint, or none that is whole.
    """
    for _ in range(LOOKS):
        candidates = checkpoints(phase_folder)
        try:
            found, fault = _choose(phase_folder, candidates, keep)
        except ValueError as error:
            found, fault = None, error
        if not fault or checkpoints(phase_folder) == candidates:
            break
    if found is None:
        raise fault
    if fault and strict:
        raise ValueError(f"{fault}; remove {phase_folder} to train that phase again") from None
    if fault:
        _log.warning("%s; taken instead of the best: %s", fault, found)
    return found


def _choose(phase_folder: Path, candidates: list[Path], keep: str) -> tuple[Path, str]:
    """Give one of the candidates, and what is wrong with the best where it is not that one."""
    if not candidates:
        raise ValueError(f"{phase_folder}: no checkpoint yet; train first")
    newest = whole.newest(candidates)
    where = f"{newest / whole.FACTS}: 'progress'"
    progress = files.expect(whole.facts(newest).get("progress"), dict, where)
    step = files.entry(progress, "best_step", int, where)
    if keep == "last" or step < 0:
        return newest, ""
    best = phase_folder / step_name(step)
    try:
        whole.verify(best)
        return best, ""
    except ValueError as error:
        return newest, str(error)


def step_name(step: int, validated: bool = True) -> str:
    """Name of the folder of a step's checkpoint; one saved in the middle of its validation differs.

    So that the one of after the validation can take its place by a rename of its own.
    """
    return f"step-{step:08d}" + ("" if validated else "-unvalidated")


def find(experiment: Path) -> Path:
    """Return the checkpoint to use: the folder itself, a phase's best, or of the newest phase.

    Raises:
        ValueError: there is none.
    """
    experiment = Path(experiment)
    if (experiment / "checkpoint.json").exists():
        return experiment
    if checkpoints(experiment):
        return chosen(experiment, "best")
    order = next((path for name in ORDERS if (path := experiment / name).exists()), None)
    if order is None:
        hint = "; speechllm import makes one of it" if (experiment / "config.json").exists() else ""
        raise ValueError(
            f"{experiment} is neither an experiment nor a checkpoint of speechllm{hint}"
        )
    begun = [(name, keep) for name, keep in _order(order) if checkpoints(experiment / name)]
    if not begun:
        raise ValueError(f"{experiment}: no checkpoint yet; train first")
    name, keep = begun[-1]
    return chosen(experiment / name, keep)


def _order(path: Path) -> list[tuple[str, str]]:
    """Read a file of `ORDERS`: each phase's name, and what it hands on."""
    values = [files.expect(value, dict, str(path)) for value in files.read_json(path, list)]
    return [tuple(files.entry(v, key, str, str(path)) for key in ("name", "keep")) for v in values]


def state(
    system: System, model: torch.nn.Module, trained: list[list[str]]
) -> dict[str, torch.Tensor]:
    """Return what a folder must hold of `model`, by name; tied weights once.

    Args:
        system: says which parts are borrowed from a pretrained checkpoint.
        model: the model.
        trained: the patterns of each phase so far.
    """
    whole, seen, kept = model.state_dict(), set(), {}
    for name in system.kept(whole, trained):
        tensor = whole[name]
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in seen:  # safetensors refuses shared memory
            continue
        seen.add(place)
        kept[name] = tensor
    return kept


def save(folder: Path, system: System, tensors: dict[str, dict], facts: dict) -> None:
    """Write a folder atomically: temporary folder, fsync, rename.

    Args:
        folder: must not exist yet.
        system: its preset and tokenizer go along.
        tensors: file stem -> {name: tensor}, e.g. {"model": state(...)}.
        facts: JSON values for `checkpoint.json` (phase, step, trained, ...).

    Raises:
        OSError: the disk is full or not writable; nothing half-written is left behind.
    """
    write(folder, system, fills(tensors), facts)


def fills(tensors: dict[str, dict]) -> dict[str, Callable]:
    """Give what `write` makes files with, of file stem -> {name: tensor}."""
    return {
        stem: lambda file, values=values: save_file(
            {name: tensor.detach().contiguous() for name, tensor in values.items()}, file
        )
        for stem, values in tensors.items()
    }


def write(folder: Path, system: System, fills: dict[str, Callable], facts: dict) -> None:
    """Write a folder as `save` does; `fills` maps a file's stem to what writes the file at a path.

    Raises:
        OSError: the disk is full or not writable; nothing half-written is left behind.
    """
    folder = Path(folder)
    try:
        with files.new_folder(folder) as unfinished:
            system.tokenizer.save_pretrained(unfinished / "tokenizer")
            (unfinished / "preset.toml").write_text(system.preset.dump(), "utf-8")
            for stem, fill in fills.items():
                fill(unfinished / f"{stem}.safetensors")
            facts = {**facts, "files": whole.digests(unfinished)}
            files.write_json(unfinished / whole.FACTS, facts)
    except Exception as error:
        # the tokenizer's own writer raises a bare one
        if not isinstance(error, OSError | SafetensorError) and "os error" not in str(error):
            raise
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
        hint = "the disk is full: free some space and resume" if full else str(error)
        raise OSError(f"could not save {folder}: {hint}; earlier checkpoints are whole") from error


def system_of(folder: Path) -> System:
    """Read preset and tokenizer of a folder, once all of it is known to be whole.

    Raises:
        ValueError: not a checkpoint, or a file of it is damaged or missing.
    """
    with _staying(Path(folder)):
        whole.verify(folder)
        preset = config.load(Path(folder) / "preset.toml")
        return System(preset, load_tokenizer(folder / "tokenizer"))


@contextlib.contextmanager
def _staying(folder: Path) -> Iterator[None]:
    """Say it where a folder that was there is gone before all of it is read."""
    was_there = folder.is_dir()
    try:
        yield
    except (OSError, ValueError):
        if not was_there or folder.is_dir():
            raise
        raise ValueError(
            f"{folder} was removed while it was read: a training goes on there, which keeps its "
            f"newest checkpoint and its best; name {folder.parent} to have one that it has now"
        ) from None


def load(folder) -> tuple[System, SpeechLLM]:
    """Load a saved model, in evaluation mode.

    Raises:
        ValueError: not a checkpoint, keys missing or too many, tensors of another shape.
    """
    folder = Path(folder)
    with _staying(folder):
        system = system_of(folder)
        with filling.Blank():
            model = system.build()
            facts = whole.facts(folder)
            heads.attach(model, facts, str(folder / whole.FACTS))
        filling.fill(model, state(system, model, facts["trained"]), folder / "model.safetensors")
    return system, model.eval()
