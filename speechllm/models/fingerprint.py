"""Which weights a model has, in a few digits."""

import json

import torch

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
        bits = tensor.detach().contiguous().view(BITS[tensor.element_size()])
        sums.append([name, list(tensor.shape), int(bits.sum(dtype=torch.int64))])
    return files.digest(json.dumps(sums).encode())
