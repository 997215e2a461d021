"""The LLM: from a description and from a folder, LoRA, and every error it can answer with."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechllm import config
from speechllm.models import kernels, outputs
from speechllm.models.llm import Config
from speechllm.models.tokens import load_tokenizer

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
QWEN = {**LLAMA, "model_type": "qwen2"}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}


def make(vocab_size: int = 100, **table):
    """Fill a Config as a preset does, and build it from seed 0."""
    made = config.fill(Config, table, "test [llm]")
    torch.manual_seed(0)
    return made.build(vocab_size)


def logits(model, **more):
    """Logits for fixed embeddings."""
    x = torch.randn(2, 7, model.get_input_embeddings().embedding_dim, generator=_seed())
    return model.eval()(inputs_embeds=x.to(model.dtype), **more).logits


def _seed():
    return torch.Generator().manual_seed(1)


@pytest.mark.parametrize("table", [LLAMA, QWEN, GPT2], ids=lambda t: t["model_type"])
@torch.no_grad()
def test_from_nothing(table):
    """Vocabulary of the tokenizer, no special ids of the family, the seed's weights."""
    model = make(config=table)
    assert model.config.vocab_size == 100 and model.dtype == torch.float32
    ids = [getattr(model.config, f"{name}_token_id") for name in ("bos", "eos", "pad")]
    assert ids == [None] * 3 and model.generation_config.eos_token_id is None
    assert torch.equal(logits(model), logits(make(config=table)))
    assert logits(model, logits_to_keep=torch.tensor([2, 5])).shape == (2, 2, 100)


@torch.no_grad()
def test_folder_dtype_and_larger_vocabulary(tmp_path):
    """Saved and loaded is as before; more embeddings than entries are how many LLMs come."""
    model = make(config=LLAMA)
    model.save_pretrained(tmp_path)
    again = make(90, pretrained=str(tmp_path), config={"attention_dropout": 0.1})
    assert torch.equal(logits(model), logits(again)) and again.config.attention_dropout == 0.1
    half = make(pretrained=str(tmp_path), dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    assert make(pretrained=str(tmp_path / "half")).dtype == torch.bfloat16


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["self_attn.o_proj"], ["all-linear"]])
def test_lora_is_in_place_and_starts_silent(targets):
    """Same logits as without; only LoRA learns; its names are what presets' patterns expect."""
    plain = make(config=LLAMA)
    model = make(config=LLAMA, lora={"r": 4, "alpha": 8, "targets": targets})
    assert type(model) is type(plain)
    with torch.no_grad():
        assert torch.equal(logits(model), logits(plain))
    learns = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learns and all("lora_" in name for name in learns)
    found = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in learns}
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert found == (every if targets == ["all-linear"] else {t.split(".")[-1] for t in targets})
    logits(model).square().sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_B" in n)


def test_lora_learns_in_full_precision():
    """Whatever the LLM's own; logits stay in the LLM's precision."""
    model = make(config=LLAMA, dtype="bfloat16", lora={"r": 4})
    assert {p.dtype for n, p in model.named_parameters() if "lora_" in n} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("asked", ["bfloat16", "auto"])
def test_without_bfloat16_kernels_weights_are_float32_and_that_is_said(
    tmp_path, monkeypatch, caplog, asked
):
    """Also where the checkpoint's own type is it; what is only counted keeps it."""
    whole = make(config=LLAMA, dtype="bfloat16")
    whole.save_pretrained(tmp_path)
    monkeypatch.setattr(kernels, "has_bf16", lambda: False)
    model = make(pretrained=str(tmp_path), dtype=asked)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    (record,) = caplog.records
    assert "no kernels for it" in record.getMessage()
    with torch.device("meta"):
        counted = make(config=LLAMA, dtype="bfloat16")
    assert next(counted.parameters()).dtype == torch.bfloat16 and len(caplog.records) == 1


def test_precision_falls_back_where_there_are_no_kernels_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(kernels, "has_bf16", lambda: True)
    assert [kernels.precision("auto", fits) for fits in (True, False)] == ["bf16", "fp32"]
    assert kernels.precision("bf16", False) == "bf16" and not caplog.records
    monkeypatch.setattr(kernels, "has_bf16", lambda: False)
    assert kernels.precision("auto") == "fp32" and not caplog.records
    assert kernels.precision("bf16") == "fp32"
    assert "--precision bf16: this machine has no kernels" in caplog.records[0].getMessage()


def test_lora_of_a_model_without_linear_layers():
    """GPT-2 has Conv1D layers; peft reaches them by name."""
    model = make(config=GPT2, lora={"targets": ["c_attn"]})
    assert any("c_attn.lora_A" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("kind,bits", [("4bit", 4), ("8bit", 8)])
def test_quantized(tmp_path, kind, bits):
    """Near the whole weights, smaller, frozen; LoRA beside them learns; dtype as asked."""
    pytest.importorskip("bitsandbytes")
    table = {**LLAMA, "hidden_size": 64, "intermediate_size": 128}
    plain = make(config=table)
    plain.save_pretrained(tmp_path)
    model = make(pretrained=str(tmp_path), quantize=kind, dtype="float32", lora={"r": 4})
    found, wanted = logits(model), logits(plain)
    # measured: 4e-2 and 2e-4 of logits up to 0.5
    assert (found - wanted).abs().max() < {4: 0.1, 8: 2e-3}[bits] and found.dtype == torch.float32
    layer = model.model.layers[0].mlp.up_proj.weight
    assert layer.numel() * layer.element_size() * 8 == bits * 64 * 128
    found.square().sum().backward()
    learns = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learns and all("lora_" in name for name in learns)


def test_bitsandbytes_is_left_alone_where_nothing_is_quantized():
    """Its import asks the Hub for code to run, and peft's own would import it; later it may be."""
    code = f"""
import importlib.util, sys
from speechllm.models.llm import Config
Config(config={LLAMA}, lora={{"r": 4}}).build(60)
assert "bitsandbytes" not in sys.modules
from peft.import_utils import is_bnb_available
assert is_bnb_available() == bool(importlib.util.find_spec("bitsandbytes"))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_quantized_where_bitsandbytes_is_not(tmp_path, monkeypatch):
    """It is named, and how to get it."""
    make(config=LLAMA).save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="'4bit' wants bitsandbytes.*pip install bitsandbytes"):
        make(pretrained=str(tmp_path), quantize="4bit")


def test_gradient_checkpointing_gives_the_same_gradients():
    """Less memory, nothing else; the frozen LLM passes gradients to what enters it."""
    found = []
    for on in (False, True):
        model = make(config=LLAMA, gradient_checkpointing=on).train().requires_grad_(False)
        x = torch.randn(2, 7, 32, generator=_seed(), requires_grad=True)
        model(inputs_embeds=x).logits.square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "table,message",
    [
        ({}, "wanted pretrained"),
        ({"config": {"hidden_size": 32}}, "model_type"),
        ({"config": {**LLAMA, "model_type": "lama"}}, "did you mean llama"),
        ({"config": {**LLAMA, "model_type": "whisper_"}}, "no causal LM of model_type"),
        ({"config": {**LLAMA, "hiden_size": 3}}, "'hiden_size'; did you mean 'hidden_size'"),
        ({"config": {**LLAMA, "hidden_size": "a"}}, "hidden_size.*expected int"),
        ({"config": {**LLAMA, "num_attention_heads": 5}}, "not a multiple"),
        ({"config": {**LLAMA, "vocab_size": 50}}, "50 embeddings.*100 entries"),
        ({"config": LLAMA, "lora": {"targets": ["query"]}}, "no layer is called 'query'.*q_proj"),
        ({"config": LLAMA, "lora": {"targets": ["q_proj", "vproj"]}}, "did you mean.*'v_proj'"),
        ({"config": LLAMA, "lora": {"rank": 4}}, "'rank'"),
        ({"config": LLAMA, "dtype": "half"}, "dtype must be one of"),
        ({"pretrained": "/no/such/folder"}, "no such folder"),
        ({"pretrained": "/no/such/folder", "quantize": "2bit"}, "one of 4bit, 8bit, got '2bit'"),
        ({"config": LLAMA, "quantize": "4bit"}, "wants a pretrained LLM"),
    ],
)
def test_errors(table, message):
    """One line that says what is wrong and what would be right."""
    with pytest.raises(ValueError, match=message) as caught:
        make(**table)
    assert "\n" not in str(caught.value)


def test_loading_is_loud(tmp_path):
    """A folder without a model; missing, unexpected and misshapen tensors; a pickle; a stump."""
    with pytest.raises(ValueError, match="no checkpoint there"):
        make(pretrained=str(tmp_path))
    make(config=LLAMA).save_pretrained(tmp_path)
    file, key = tmp_path / "model.safetensors", "model.norm.weight"
    whole = load_file(file)
    stump = file.read_bytes()[:2000]
    cases = {
        "missing: model.norm.weight; unexpected: foo": {"foo": whole[key]},
        r"other shape: model.norm.weight \(3,\) for \(32,\)": {key: whole[key][:3].clone()},
    }
    for message, change in cases.items():
        save_file({k: v for k, v in whole.items() if k != key} | change, file, {"format": "pt"})
        with pytest.raises(ValueError, match=message):
            make(pretrained=str(tmp_path))
    file.write_bytes(stump)
    with pytest.raises(ValueError, match="cannot be loaded"):
        make(pretrained=str(tmp_path))
    file.unlink()
    torch.save(whole, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="only safetensors are read"):
        make(pretrained=str(tmp_path))
    with pytest.raises(ValueError, match="no tokenizer could be loaded"):
        load_tokenizer(tmp_path)


@torch.no_grad()
def test_outputs_among_some_ids():
    """Their logits as they are, minus infinity for all others, and all again afterwards."""
    model = make(**{"config": LLAMA})
    whole, ids = logits(model), torch.tensor([3, 50, 7])
    with outputs.Among(model, ids):
        some = logits(model)
    torch.testing.assert_close(some[..., ids], whole[..., ids])
    others = torch.ones(whole.shape[-1], dtype=torch.bool)
    others[ids] = False
    assert bool((some[..., others] == -torch.inf).all()) and torch.equal(logits(model), whole)
