"""Which LLMs keep packed examples apart: the others are refused, by the name of what mixes them."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from speechllm.models.apart import mixes
from speechllm.train import loop

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 2, "max_position_embeddings": 64}  # fmt: skip
KEYS = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
APART = {
    "llama": KEYS,
    "gemma3_text": {**KEYS, "sliding_window": 8},
    "qwen2": SMALL,
    "gpt2": GPT,
    "ctrl": {**GPT, "dff": 64},
}
HEED, STATE = "does not heed where positions", "a state that is carried along the row"
MIXED = {
    "opt": ({**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32}, HEED),
    "biogpt": (SMALL, HEED),
    "xglm": ({"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 2}, HEED),
    "openai-gpt": (GPT, HEED),
    "falcon": ({"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}, HEED),
    "bloom": ({"hidden_size": 32, "n_layer": 2, "n_head": 2}, "ALiBi"),
    "mpt": ({"d_model": 32, "n_layers": 2, "n_heads": 2}, "ALiBi"),
    "mamba": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, STATE),
    "mamba2": ({"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "num_heads": 4,
                "head_dim": 16, "n_groups": 1}, STATE),
    "lfm2": ({**SMALL, "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]}, STATE),
}  # fmt: skip


def make(name, fields):
    """Make a small LLM of a family."""
    kind = type(AutoConfig.for_model(name))
    return AutoModelForCausalLM.from_config(kind(**fields, vocab_size=60)).eval()


@pytest.mark.parametrize("name", APART)
def test_these_keep_examples_apart(name):
    state, llm = torch.get_rng_state(), make(name, APART[name])
    before = copy.deepcopy(llm.state_dict())
    torch.set_rng_state(state)
    assert mixes(llm) == ""
    assert torch.equal(torch.get_rng_state(), state), "a training would draw other numbers"
    assert all(torch.equal(before[k], v) for k, v in llm.state_dict().items())


@pytest.mark.parametrize("name", MIXED)
def test_these_do_not(name):
    fields, reason = MIXED[name]
    assert reason in mixes(make(name, fields))


def test_refused_before_the_first_step(make_run, tmp_path):
    llm = '{model_type="opt",hidden_size=32,ffn_dim=64,num_hidden_layers=1,num_attention_heads=2,'
    llm += "max_position_embeddings=256,word_embed_proj_dim=32}"
    run = make_run(tmp_path, f"llm.config={llm}", "data.pack=64")
    with pytest.raises(ValueError, match=r"pack: the LLM \(opt\) has attention that does not heed"):
        loop.train(run)
    assert not list(tmp_path.glob("*/step-*"))
