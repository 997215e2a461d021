"""Which layers a pass runs, at how many positions: told by the tiny form, for the real system."""

import re
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Leaf:
    """A layer as the tiny form ran it: outputs a channel, and whether they wait for a gradient."""

    positions: int
    waits: bool


def trace(root: nn.Module, run) -> dict[str, Leaf]:
    """Call `run` and note what goes through each layer of `root` that has a width."""
    leaves, hooks = {}, []

    def note(name: str, width: int):
        def hook(module, args, out):
            earlier = leaves.get(name, Leaf(0, False))
            n = out.numel() // width
            leaves[name] = Leaf(earlier.positions + n, earlier.waits or out.requires_grad)

        return hook

    for name, module in root.named_modules():
        if (size := width_of(module)) is not None:
            hooks.append(module.register_forward_hook(note(name, size)))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return leaves


def width_of(module: nn.Module) -> int | None:
    """Give the channels that a layer gives; None for what is no such layer."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or next(module.children(), None) is not None:
        return None
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    return weight.shape[0]  # of a norm all, of a Linear or convolution the outputs


def match(leaves: dict[str, Leaf], whole: nn.Module):
    """Yield (layer, positions, waits) for each layer of `whole` that the tiny form ran.

    The tiny form has fewer layers; a layer beyond them ran as the last or the first one did.
    """
    for name, module in whole.named_modules():
        if width_of(module) is not None and (leaf := _leaf(leaves, name)):
            yield module, leaf.positions, leaf.waits


def _leaf(leaves: dict[str, Leaf], name: str) -> Leaf | None:
    if name in leaves:
        return leaves[name]
    for number in reversed(list(re.finditer(r"(?<=\.)\d+(?=\.)", name))):
        for other in ("1", "0"):
            twin = name[: number.start()] + other + name[number.end() :]
            if twin in leaves:
                return leaves[twin]
    return None
