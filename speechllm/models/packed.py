"""Linear layers for use alone: weights laid out once as the processor's matrix kernels want them.

On a CPU, float32, torch multiplies by MKL, which knows no AVX-512 on AMD; oneDNN, which torch has
too, does, and need not lay out the weights again at each call. On an EPYC with AVX-512 one thread
makes 247 GFLOP/s of (1500, 512) by (512, 2048) in place of 96. The sums are float32 in both, in
another order.
"""

import torch
from torch import nn


class Packed(nn.Module):
    """A linear layer that can only be used."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., D) to (..., H)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def pack(model: nn.Module) -> nn.Module:
    """Pack all float32 linear layers on the CPU, in place; none that shares its weight.

    Nothing is done where torch has no such kernels, and what cannot be packed stays.
    """
    if not torch.backends.mkldnn.is_available():
        return model
    places: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            places[id(parameter)] = places.get(id(parameter), 0) + 1
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and _fits(child.weight) and places[id(child.weight)] == 1:
                setattr(parent, name, Packed(child))
    return model


def _fits(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32
