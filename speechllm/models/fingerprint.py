"""Which weights a model has, in a few digits."""

import json
from collections.abc import Iterator

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from speechllm import files

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element


def fingerprint(model: torch.nn.Module, beyond=None) -> str:
    """Give 16 hexadecimal digits that are the same on any device.

    beyond: name -> whether a weight is left out.

    Of each tensor its bits are summed as whole numbers, so that the order of a device's sums does
    not matter. Borrowed weights count as the model's own do.
    """
    sums = []
    for name, tensor in sorted(model.state_dict().items()):
        if beyond and beyond(name):
            continue
        total = sum(_bits(part) for part in _plain(tensor.detach()))
        sums.append([name, list(tensor.shape), total])
    return files.digest(json.dumps(sums).encode())


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the tensors of which a quantised one is made; any other as it is."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))


def _bits(tensor: torch.Tensor) -> int:
    return int(tensor.contiguous().view(BITS[tensor.element_size()]).sum(dtype=torch.int64))
