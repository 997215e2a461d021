"""Attention as matrix products = torch's own, forward and backward, to bfloat16's rounding."""

from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from speechllm.models.attention import NAME, attend, prefer
from speechllm.models.llm import Config

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2}


def inputs(queries=11, keys=11, width=16):
    torch.manual_seed(0)
    shapes = (3, 4, queries, width), (3, 2, keys, width), (3, 2, keys, width)
    return [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]


def near(own, reference, share=0.02):
    assert (own.float() - reference.float()).norm() < share * reference.float().norm()


MASKS = {
    "causal": (None, 11),
    "one query": (None, 1),
    "of each row": (torch.rand(3, 1, 11, 11, generator=torch.Generator().manual_seed(1)) < 0.7, 11),
    "of all rows": (torch.ones(1, 1, 11, 11, dtype=torch.bool).tril(-2), 11),  # two see nothing
}


@pytest.mark.parametrize("cached", [2**20, 600, 100])  # all at once, a row, a head at a time
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("case", MASKS)
def test_equals_sdpa(case, scaling, cached, monkeypatch):
    monkeypatch.setattr("speechllm.models.attention.CACHED", cached)
    mask, queries = MASKS[case]
    tensors = inputs(queries)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=2)
    own, _ = attend(module, *tensors, mask, scaling=scaling)
    wanted, _ = sdpa_attention_forward(module, *(t.float() for t in tensors), mask, scaling=scaling)
    seen = slice(2, None) if case == "of all rows" else slice(None)
    near(own[:, seen], wanted[:, seen])
    weight = torch.randn_like(wanted)
    grads = torch.autograd.grad((own.float() * weight)[:, seen].sum(), tensors)
    wanted = torch.autograd.grad((wanted * weight)[:, seen].sum(), tensors)
    for one, reference in zip(grads, wanted, strict=True):
        near(one, reference)


def test_float32_and_dropout_are_left_to_sdpa():
    module = SimpleNamespace(is_causal=True, num_key_value_groups=2)
    tensors = [t.float() for t in inputs()]
    assert torch.equal(
        attend(module, *tensors, None)[0], sdpa_attention_forward(module, *tensors, None)[0]
    )
    torch.manual_seed(1)
    own = attend(module, *inputs(), None, dropout=0.5)[0]
    torch.manual_seed(1)
    assert torch.equal(own, sdpa_attention_forward(module, *inputs(), None, dropout=0.5)[0])


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen2"])
def test_an_llm_answers_alike_padded_and_with_its_cache(family):
    llm = Config(config={"model_type": family, **SIZES}, dtype="bfloat16").build(40).eval()
    ids = torch.randint(40, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, 6:] = 0
    before = llm(input_ids=ids, attention_mask=mask).logits[mask > 0]
    prefer(llm)
    assert llm.config._attn_implementation == NAME
    near(llm(input_ids=ids, attention_mask=mask).logits[mask > 0], before)
    begun = llm(input_ids=ids[:1, :8], use_cache=True)
    last = llm(input_ids=ids[:1, 8:], past_key_values=begun.past_key_values).logits[0, -1]
    near(last, llm(input_ids=ids[:1]).logits[0, -1])
