"""peft's linear layer with LoRA, as one step of autograd that keeps its input and little more.

peft computes y = x W^T + b, casts x to float32, and adds B(A(x)) times its scale in steps of their
own, each of which keeps what it is given. Here all of it is computed in the precision of the layer
(autocast's, or its weight's), from float32 masters of A and B that are rounded once a call; W is
frozen, so it has no gradient. Where anything is not plain (dropout, several LoRAs at once, a gate,
merged weights, a W that learns) peft's own way is taken.

M positions, I and O widths, r rank.
"""

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import nn
from torch.autograd.function import once_differentiable


class Fused(Linear):
    """The same layer, parameters and all."""

    def forward(self, x, *args, **kwargs):
        """Map x (..., I) to (..., O)."""
        name = None if args or kwargs else plain(self)
        if name is None:
            return super().forward(x, *args, **kwargs)
        weight, bias = base(self.base_layer)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        with torch.autocast(x.device.type, enabled=False):
            return _Linear.apply(x.to(weight.dtype), weight, bias, a, b, self.scaling[name])


def fuse(model: nn.Module) -> None:
    """Let all of peft's plain linear layers in a model be of this kind."""
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = Fused


def base(layer: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Give weight and bias of a linear layer in the precision that it computes in."""
    kind, dtype = layer.weight.device.type, layer.weight.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)


def plain(layer: LoraLayer) -> str | None:
    """Give the name of the one LoRA that a layer computes; None where it is not as simple."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(names) != 1 or layer.lora_variant:
        return None
    name, base = names[0], layer.base_layer
    halves = type(layer.lora_A[name]), type(layer.lora_B[name])
    dropout = layer.lora_dropout[name]
    still = isinstance(dropout, nn.Identity) or not dropout.training
    plain = type(base) is nn.Linear and halves == (nn.Linear, nn.Linear)
    plain = plain and layer.lora_A[name].bias is None and layer.lora_B[name].bias is None
    frozen = not any(p.requires_grad for p in base.parameters())
    return name if plain and still and frozen else None


class _Linear(torch.autograd.Function):
    """y = x W^T + bias + scale (x A^T) B^T."""

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale):
        flat = x.flatten(0, -2)
        low, up = a.to(x.dtype), b.to(x.dtype)
        inner = flat @ low.T  # (M, r)
        y = nn.functional.linear(flat, weight, bias).addmm_(inner, up.T, alpha=scale)
        ctx.save_for_backward(flat, weight, inner, low, up)
        ctx.scale, ctx.shape, ctx.dtypes = scale, x.shape, (a.dtype, b.dtype)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, inner, low, up = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        back = (grad @ up).mul_(ctx.scale)  # (M, r)
        of_x = of_a = of_b = None
        if ctx.needs_input_grad[0]:
            of_x = (grad @ weight).addmm_(back, low).view(ctx.shape)
        if ctx.needs_input_grad[3]:
            of_a = (back.T @ x).to(ctx.dtypes[0])
        if ctx.needs_input_grad[4]:
            of_b = (grad.T @ inner).mul_(ctx.scale).to(ctx.dtypes[1])
        return of_x, None, None, of_a, of_b, None
