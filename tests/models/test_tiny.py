"""Tiny forms: small, of the same lengths and kinds as the real system, and without a download."""

import pytest
import torch

from speechllm import config
from speechllm.models import tiny
from speechllm.models.system import System


@pytest.mark.parametrize("name", config.presets())
def test_as_the_real_system_but_small(name):
    preset = config.load(name)
    small, whole = tiny.system(preset), System(tiny.bare(preset), None)
    for kind, branch in small.branches.items():
        unit = 160 if branch.front.dim == 1 else 1
        lengths = [unit * n for n in (1, 7, 64, 100, 333, 999)]
        ours = [small.soft_tokens(n, kind) for n in lengths]
        assert ours == [whole.soft_tokens(n, kind) for n in lengths]
        for noun in ("encoder", "adapter"):
            assert type(getattr(branch, noun)) is type(getattr(whole.branches[kind], noun))
    assert type(small.fusion) is type(whole.fusion)
    model = small.build()
    assert sum(p.numel() for p in model.parameters()) < 1e6
    assert model.vocab_size == len(small.tokenizer)


def test_a_checkpoint_of_unknown_shape_is_named():
    preset = config.load("slam_asr_wavlm", ["encoder.pretrained=microsoft/wavlm-lagre"])
    with pytest.raises(ValueError, match="published.toml; did you mean 'microsoft/wavlm-large'"):
        tiny.system(preset)


def test_another_checkpoint_brings_its_own_shape():
    preset = config.load("slam_asr_whisper", ["encoder.pretrained=openai/whisper-large-v3"])
    assert tiny.bare(preset).part("encoder", "models.encoders").dim == 1280
    changed = config.load("slam_asr_whisper", ["encoder.config={encoder_layers=3}"])
    assert tiny.bare(changed).part("encoder", "models.encoders").hf.encoder_layers == 3


def test_a_table_of_the_preset_has_the_last_word():
    preset = config.load("mini", ["tiny.llm.config.hidden_size=48", "tiny.encoder.kernel=3"])
    made = tiny.shrink(preset)
    assert (made.table("llm")["config"]["hidden_size"], made.table("encoder")["kernel"]) == (48, 3)
    assert "tiny" not in made.tables and made.table("encoder")["dim"] == 32


def test_names_of_sizes():
    found = tiny.small({
        "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden": 0,
        "layers": "last", "conv_dim": (512, 512), "kernel": 9,
    })  # fmt: skip
    assert found == {
        "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "conv_dim": [16, 16],
    }  # fmt: skip
    assert tiny.small({"heads": 16, "kv_heads": 16, "layers": 1}) == {"heads": 4, "kv_heads": 4}


def test_tokenizer_reads_anything_and_knows_the_chat():
    tokenizer = tiny.tokenizer(config.load("mini", ["chat.assistant={}<|end|>"]))
    text = "Grüße, 世界 \n\t!"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer("<|end|>", add_special_tokens=False)["input_ids"]) == 1
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_one_seed_one_model():
    system = tiny.system(config.load("slam_asr_wavlm"))
    first, second = (system.build().state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
