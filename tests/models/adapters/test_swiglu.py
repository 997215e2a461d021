"""The gated adapter against its definition, written out with transformers' parts.

transformers has no Ultravox; norm and gated perceptron are those of its Llama.
"""

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from speechllm.models.adapters import swiglu

D, H = 12, 16


@pytest.mark.parametrize("middle", [True, False])
@torch.no_grad()
def test_is_its_definition(middle):
    """Eight states, RMSNorm, Linear, half times SiLU of half, RMSNorm, Linear, in two orders."""
    last = {"norm": "none"} if middle else {"norm_scale": 0.4}
    model = swiglu.Config(hidden=10, middle=middle, **last).build(D, nn.Embedding(9, H)).eval()
    states = torch.randn(1, 19, D)
    tokens, lengths = model(states, torch.tensor([19]))
    stacks = nn.functional.pad(states, (0, 0, 0, 5)).reshape(1, 3, 8 * D)
    inner, post = LlamaRMSNorm(10), LlamaRMSNorm(H)
    before = LlamaRMSNorm(8 * D)
    for norm in (before, inner, post):
        nn.init.constant_(norm.weight, 0.4)
    first, gate = model.linear1(before(stacks)).split(10, -1)
    x = first * gate.sigmoid() * gate
    wanted = model.linear2(inner(x)) if middle else post(model.linear2(x))
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-5)
    assert lengths.tolist() == [3]


def test_size():
    """As its config for an 8 B LLM: hidden_size 4096 before the gate, Whisper-large, no bias."""
    with torch.device("meta"):
        model = swiglu.Config(norm="none").build(1280, nn.Embedding(9, 4096))
    parts = 8 * 1280 + 8 * 1280 * 4096 + 2048 + 2048 * 4096
    assert sum(p.numel() for p in model.parameters()) == parts


@pytest.mark.parametrize("wrong", [{"stack": 0}, {"hidden": 0}, {"init": 0.0}, {"rest": "keep"}])
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        swiglu.Config(**wrong)
