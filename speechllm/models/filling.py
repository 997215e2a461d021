"""A model filled from a file of tensors: nothing drawn before, nothing missing or left over.

A LoRA that is new beside a folder's weights may be missing in the file.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch.overrides import TorchFunctionMode

from speechllm.models import lora
from speechllm.models.hub import some
from speechllm.models.shards import Tensors


class Blank(TorchFunctionMode):
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


def fill(
    module: torch.nn.Module, wanted: dict[str, torch.Tensor], file: Path, added: bool = False
) -> None:
    """Copy a file's tensors into `module`; what it must hold is `wanted`, no more and no less.

    added: a LoRA of which the file has nothing stays as it was made, beside the file's weights.

    Raises:
        ValueError: lists missing and unexpected names, and tensors of another shape.
    """
    there = Tensors(file)
    found = {name: there.shape(name) for name in there.parts}
    places = _beside_lora(wanted, found) if added else {name: name for name in wanted}
    compare({theirs: wanted[name] for name, theirs in places.items()}, found, file)
    try:
        state = module.state_dict()
        there.read_into({theirs: state[name] for name, theirs in places.items()})
    except SafetensorError as error:
        raise ValueError(f"{file}: cut short or no safetensors: {error}") from None
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error}") from None


def _beside_lora(ours, theirs) -> dict[str, str]:
    """Give {our name: the file's} where our parts may have LoRAs that the file's have not.

    A LoRA renames the weight that it stands beside.
    """
    # our "q.base_layer.weight" is "q.weight" in a file whose q has no LoRA
    there = {lora.owner(name) for name in theirs}
    places = {}
    for name in ours:
        if lora.owner(name) is None:
            bare = name.replace(".base_layer.", ".")
            places[name] = bare if name not in theirs and bare in theirs else name
        elif lora.owner(name) in there:
            places[name] = name
    return places


def shapes(file: Path) -> dict[str, tuple]:
    """Read the names and shapes of a file's tensors, and no tensor.

    Raises:
        ValueError: no safetensors, or none that can be read.
    """
    there = Tensors(file)
    return {name: there.shape(name) for name in there.parts}


def compare(wanted: dict[str, torch.Tensor], shapes: dict[str, tuple], file: Path) -> None:
    """Hold a file's names and shapes against what it must hold.

    Raises:
        ValueError: lists missing and unexpected names, and tensors of another shape.
    """
    missing, extra = wanted.keys() - shapes.keys(), shapes.keys() - wanted.keys()
    other = [
        f"{name} {shapes[name]} for {tuple(wanted[name].shape)}"
        for name in wanted.keys() & shapes.keys()
        if shapes[name] != tuple(wanted[name].shape)
    ]
    parts = {"missing": missing, "unexpected": extra, "other shape": other}
    wrong = [f"{what}: {some(sorted(names), 8)}" for what, names in parts.items() if names]
    if wrong:
        raise ValueError(f"{file} does not fit this preset ({'; '.join(wrong)})")
