"""CogVLM's expert against plain products, position by position; at first it is the LLM."""

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.models.fusion.expert import Config
from speechllm.models.llm import Config as LLMConfig
from tests.models.fusion.test_cross_attention import H, V, make_llm

SLOTS = torch.tensor([[1, 2, 3], [0, 0, 2], [1, 6, 1]])
FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt2", "bloom"]


def attached(llm, **options):
    """Attach experts that differ from the LLM."""
    fusion = Config(**options).build()
    fusion.attach(llm)
    torch.manual_seed(1)
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.2)
    return fusion.eval()


def attention(layer, own, x, there, turns):
    """One layer's attention, with weights chosen position by position."""
    heads, size = 4, H // 4
    names = ("q_proj", "k_proj", "v_proj")
    q, k, v = (
        torch.where(there, own[name](x), getattr(layer.self_attn, name)(x))
        .unflatten(-1, (-1, size))
        .transpose(1, 2)
        for name in names
    )
    cos, sin = (turn[:, None] for turn in turns)

    def turned(y):
        first, second = y.chunk(2, -1)
        return y * cos + torch.cat([-second, first], -1) * sin

    q, k = turned(q), turned(k)
    k, v = (y.repeat_interleave(heads // y.shape[1], 1) for y in (k, v))
    scores = q @ k.transpose(2, 3) / size**0.5
    hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
    out = mixed.transpose(1, 2).flatten(2)
    return torch.where(there, own["o_proj"](out), layer.self_attn.o_proj(out))


@torch.no_grad()
def test_against_plain_products():
    llm = make_llm()
    fusion = attached(llm)
    embeddings, tokens = torch.randn(2, 9, H), torch.randn(3, 3, H)
    joined = fusion.join(embeddings, tokens, SLOTS)
    found = llm(inputs_embeds=joined).logits
    there = torch.zeros(2, 9, 1, dtype=torch.bool)
    there[1, 2:5] = there[0, :2] = there[1, 6] = True
    fusion.join(embeddings, tokens[:0], SLOTS[:0])
    x, turns = joined, llm.model.rotary_emb(joined, torch.arange(9)[None])
    for layer, own in zip(llm.model.layers, fusion.layers, strict=True):
        x = x + attention(layer, own, layer.input_layernorm(x), there, turns)
        y = layer.post_attention_layernorm(x)
        x = x + torch.where(there, own["mlp"](y), layer.mlp(y))
    wanted = llm.lm_head(llm.model.norm(x))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_at_first_it_is_the_llm(family):
    """Copies answer as what they were copied from; others do not, from the first medium on."""
    llm, plain = make_llm(family), make_llm(family)
    fusion = Config().build()
    fusion.attach(llm)
    embeddings, tokens = torch.randn(2, 9, H), torch.randn(3, 3, H)
    joined = fusion.join(embeddings, tokens, SLOTS)
    wanted = plain(inputs_embeds=joined).logits
    torch.testing.assert_close(llm(inputs_embeds=joined).logits, wanted, atol=1e-5, rtol=0)
    for parameter in fusion.parameters():
        parameter.add_(0.1)
    moved = ((llm(inputs_embeds=joined).logits - wanted).abs() > 1e-6).any(-1)
    assert moved.tolist() == [[True] * 9, [False] * 2 + [True] * 7]
    fusion.join(embeddings, tokens[:0], SLOTS[:0])
    torch.testing.assert_close(llm(inputs_embeds=joined).logits, wanted, atol=0, rtol=0)


def test_the_output_may_stay_the_llms():
    fusion = Config(output=False).build()
    fusion.attach(make_llm())
    assert sorted(fusion.layers[0]) == ["k_proj", "mlp", "q_proj", "v_proj"]


def test_lora_is_not_copied():
    table = {"config": {"model_type": "llama", "hidden_size": H, "num_hidden_layers": 2,
                        "num_attention_heads": 4, "intermediate_size": 48},
             "lora": {"r": 2, "targets": ["all-linear"]}}  # fmt: skip
    llm = config.fill(LLMConfig, table, "test").build(V)
    fusion = Config().build()
    fusion.attach(llm)
    names = [name for name, _ in fusion.named_parameters()]
    assert names and not any("lora" in name for name in names)


def test_an_llm_without_such_layers_is_refused():
    table = {"config": {"model_type": "mamba", "hidden_size": H, "num_hidden_layers": 2}}
    llm = config.fill(LLMConfig, table, "test").build(V)
    with pytest.raises(ValueError, match="expert wants layers of one attention"):
        Config().build().attach(llm)
