"""Model folders: safetensors, TOML and JSON; loud about every key that is missing or too many.

    preset.toml  tokenizer/  model.safetensors  [objectives.safetensors]  checkpoint.json

An experiment keeps such folders as `EXP/STAGE/step-00000120/`; `stages.json` gives the order of the
stages and what each hands on, `EXP/STAGE/best.json` the best step. `find` says which one to use.

Weights of pretrained parts that were never trained are not copied into the folder; they come from
where the preset says. Everything else must be there, and nothing besides.
"""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

from speechllm import config, files
from speechllm.models.hub import some
from speechllm.models.llm import load_tokenizer
from speechllm.models.model import SpeechLLM
from speechllm.models.shards import read_into
from speechllm.models.system import System

STEP = re.compile(r"step-(\d{8})$")


def checkpoints(stage_folder: Path) -> list[Path]:
    """List the whole checkpoints of a stage, oldest first."""
    found = stage_folder.glob("step-*") if stage_folder.is_dir() else []
    return sorted(f for f in found if STEP.match(f.name))


def chosen(stage_folder: Path, keep: str) -> Path:
    """Return the checkpoint of a stage that goes on: its best or its last.

    Raises:
        ValueError: the stage has no checkpoint.
    """
    found = checkpoints(stage_folder)
    if not found:
        raise ValueError(f"{stage_folder}: no checkpoint yet; train first")
    best = stage_folder / "best.json"
    if keep == "best" and best.exists():
        step = files.read_json(best)["step"]
        found = [f for f in found if f.name == f"step-{step:08d}"] or found
    return found[-1]


def find(experiment: Path) -> Path:
    """Return the checkpoint to use: the folder itself, a stage's best, or of the newest stage.

    Raises:
        ValueError: there is none.
    """
    experiment = Path(experiment)
    if (experiment / "checkpoint.json").exists():
        return experiment
    if checkpoints(experiment):
        return chosen(experiment, "best")
    order = experiment / "stages.json"
    if not order.exists():
        hint = "; speechllm import makes one of it" if (experiment / "config.json").exists() else ""
        raise ValueError(
            f"{experiment} is neither an experiment nor a checkpoint of speechllm{hint}"
        )
    entries = files.read_json(order, list)
    begun = [e for e in entries if checkpoints(experiment / e["name"])]
    if not begun:
        raise ValueError(f"{experiment}: no checkpoint yet; train first")
    return chosen(experiment / begun[-1]["name"], begun[-1]["keep"])


def state(
    system: System, model: torch.nn.Module, trained: list[list[str]]
) -> dict[str, torch.Tensor]:
    """Return what a folder must hold of `model`, by name; tied weights once.

    Args:
        system: says which parts are borrowed from a pretrained checkpoint.
        model: the model.
        trained: the patterns of each stage so far.
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
        facts: JSON values for `checkpoint.json` (stage, step, trained, ...).

    Raises:
        OSError: the disk is full or not writable; nothing half-written is left behind.
    """
    fills = {
        stem: lambda file, values=values: save_file(
            {name: tensor.detach().contiguous() for name, tensor in values.items()}, file
        )
        for stem, values in tensors.items()
    }
    write(folder, system, fills, facts)


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
            facts_text = json.dumps(facts, indent=1)
            (unfinished / "checkpoint.json").write_text(facts_text, "utf-8")
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
        hint = "the disk is full: free some space and resume" if full else str(error)
        raise OSError(f"could not save {folder}: {hint}; earlier checkpoints are whole") from error


def facts(folder: Path) -> dict:
    """Read `checkpoint.json`.

    Raises:
        ValueError: the folder is not one of ours.
    """
    try:
        return files.read_json(Path(folder) / "checkpoint.json")
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a checkpoint of speechllm: {error}") from None


def system_of(folder: Path) -> System:
    """Read preset and tokenizer of a folder."""
    facts(folder)
    return System(config.load(Path(folder) / "preset.toml"), load_tokenizer(folder / "tokenizer"))


def load(folder) -> tuple[System, SpeechLLM]:
    """Load a saved model, in evaluation mode.

    Raises:
        ValueError: not a checkpoint, keys missing or too many, tensors of another shape.
    """
    folder = Path(folder)
    system = system_of(folder)
    with _Blank():
        model = system.build()
    fill(model, state(system, model, facts(folder)["trained"]), folder / "model.safetensors")
    return system, model.eval()


def fill(module: torch.nn.Module, wanted: dict[str, torch.Tensor], file: Path) -> None:
    """Copy a file's tensors into `module`; what it must hold is `wanted`, no more and no less.

    Raises:
        ValueError: lists missing and unexpected names, and tensors of another shape.
    """
    there = shapes(file)
    compare(wanted, there, file)
    try:
        state = module.state_dict()
        read_into(file, {name: state[name] for name in there})
    except SafetensorError as error:
        raise ValueError(f"{file}: cut short or no safetensors: {error}") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None


def shapes(file: Path) -> dict[str, tuple]:
    """Read the names and shapes of a file's tensors, and no tensor.

    Raises:
        ValueError: no safetensors, or none that can be read.
    """
    try:
        with safe_open(file, "pt") as found:
            return {name: tuple(found.get_slice(name).get_shape()) for name in found.keys()}
    except SafetensorError as error:
        raise ValueError(f"{file}: cut short or no safetensors: {error}") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None


def compare(wanted: dict[str, torch.Tensor], found: dict[str, tuple], file: Path) -> None:
    """Hold a file's names and shapes against what it must hold.

    Raises:
        ValueError: lists missing and unexpected names, and tensors of another shape.
    """
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    other = [
        f"{name} {found[name]} for {tuple(wanted[name].shape)}"
        for name in wanted.keys() & found.keys()
        if found[name] != tuple(wanted[name].shape)
    ]
    parts = {"missing": missing, "unexpected": extra, "other shape": other}
    wrong = [f"{what}: {some(sorted(names), 8)}" for what, names in parts.items() if names]
    if wrong:
        raise ValueError(f"{file} does not fit this preset ({'; '.join(wrong)})")


class _Blank(TorchFunctionMode):
    """Zeros where weights would be drawn: they are about to be read, and drawing takes long."""

    DRAWS = frozenset(
        "normal_ uniform_ trunc_normal_ kaiming_normal_ kaiming_uniform_ xavier_normal_ "
        "xavier_uniform_".split()
    )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.DRAWS:
            drawn = args[0] if args else kwargs["tensor"]
            with torch.no_grad():
                return drawn.zero_()
        return func(*args, **kwargs)
