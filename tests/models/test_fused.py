"""LoRA in one step = peft's own way: forward, and the gradients of input and both matrices."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from speechllm.models.fused import Fused, fuse


def pair(bias=True, dtype=torch.float32, **settings):
    """Give peft's layer and ours, of the same weights; both matrices are awake."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(12, 20, bias=bias)).to(dtype)
        options = {"r": 4, "lora_alpha": 6, "target_modules": ["0"], **settings}
        inject_adapter_in_model(LoraConfig(**options), model)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = torch.randn(parameter.shape)
            parameter.requires_grad_("lora_" in name)
        made.append(model)
    fuse(made[1])
    assert type(made[1][0]) is Fused
    return made


def results(model, x):
    x = x.clone().requires_grad_()
    y = model(x)
    learning = [p for p in model.parameters() if p.requires_grad]
    weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y.float() * weight).sum(), [x, *learning])]


@pytest.mark.parametrize("bias", [True, False])
def test_equals_peft_in_float32(bias):
    theirs, ours = pair(bias)
    x = torch.randn(3, 5, 12)
    for own, wanted in zip(results(ours, x), results(theirs, x), strict=True):
        assert own.dtype == wanted.dtype
        torch.testing.assert_close(own, wanted, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_it_differs_by_rounding(dtype):
    theirs, ours = pair(dtype=dtype)
    x = torch.randn(3, 5, 12)
    with torch.autocast("cpu", torch.bfloat16):
        pairs = list(zip(results(ours, x), results(theirs, x), strict=True))
    for own, wanted in pairs:
        assert own.dtype == wanted.dtype
        assert (own - wanted).float().norm() < 2**-6 * wanted.float().norm()


def test_what_is_not_plain_goes_peft_s_own_way():
    x = torch.randn(2, 3, 12)
    theirs, ours = pair(lora_dropout=0.5)
    drawn = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        drawn.append(results(model, x)[0])
    assert torch.equal(*drawn)
    theirs, ours = pair()
    theirs[0].merge(), ours[0].merge()
    assert torch.equal(theirs(x), ours(x))
    theirs, ours = pair()
    theirs[0].enable_adapters(False), ours[0].enable_adapters(False)
    assert torch.equal(ours(x), theirs(x)) and torch.equal(ours(x), ours[0].base_layer(x))


def test_only_its_input_and_the_inner_product_wait_for_backward():
    _, ours = pair(dtype=torch.bfloat16)
    weights = {p.data_ptr() for p in ours.parameters()}
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    x = torch.randn(7, 12, dtype=torch.bfloat16, requires_grad=True)
    with hooks:
        ours(x)
    sizes = sorted(t.numel() for t in kept if t.data_ptr() not in weights)
    assert sizes == sorted([7 * 12, 7 * 4, 4 * 12, 20 * 4])
