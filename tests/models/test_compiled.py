"""Compiled layers = the layers as they are: loss and gradients; other lengths, and no compiler."""

import copy

import torch

from speechllm.models import compiled
from speechllm.models.attention import prefer
from speechllm.models.llm import Config

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2, "num_key_value_heads": 1}


def made(family="gemma3_text"):
    torch.manual_seed(0)
    lora = {"r": 4, "targets": ["all-linear"]}
    llm = Config(config={"model_type": family, **SIZES}, dtype="bfloat16", lora=lora).build(40)
    for name, parameter in llm.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return prefer(llm)


def loss(llm, rows, size):
    generator = torch.Generator().manual_seed(size)
    ids = torch.randint(40, (rows, size), generator=generator)
    mask = torch.ones(rows, size, dtype=torch.long)
    mask[-1, size - 2 :] = 0
    with torch.autocast("cpu", torch.bfloat16):
        return (
            llm(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().square().sum()
        )


def test_equals_the_layers_as_they_are():
    """In bf16 with LoRA in all Linears; of the graphs alone, for compiling them takes a minute."""
    plain = made()
    fast = copy.deepcopy(plain)
    assert compiled.compile_layers(fast, backend="aot_eager")
    for rows, size in ((2, 9), (3, 14)):
        pairs = []
        # one code for all lengths: the second batch compiles nothing
        stance = "fail_on_recompile" if rows == 3 else "default"
        for llm in (plain, fast):
            llm.zero_grad()
            with torch.compiler.set_stance(stance):
                value = loss(llm, rows, size)
            value.backward()
            pairs.append([value, *(p.grad for p in llm.parameters() if p.requires_grad)])
        for own, wanted in zip(*reversed(pairs), strict=True):
            assert (own - wanted).norm() < 0.03 * wanted.norm()
    with compiled.as_they_are(), torch.no_grad():
        assert torch.equal(loss(fast, 2, 9), loss(plain, 2, 9))


def test_without_a_compiler_it_says_so(monkeypatch, caplog):
    def none(*args, **options):
        raise RuntimeError("No working C++ compiler found\nlong story")

    monkeypatch.setattr(torch, "compile", none)
    llm = made("llama")
    assert not compiled.compile_layers(llm)
    assert "No working C++ compiler found" in caplog.text and "story" not in caplog.text
    assert all(layer._compiled_call_impl is None for layer in llm.model.layers)
