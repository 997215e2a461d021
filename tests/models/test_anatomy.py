"""Parameters at full size, on the meta device, against what the sources state."""

import pytest
import torch

from speechllm import config
from speechllm.models import anatomy
from speechllm.train import memory

M, B = 1e6, 1e9
# preset -> {part: (stated, relative difference allowed)}; what a source rounds, we allow for
STATED = {
    "slam_asr_wavlm": {  # arXiv 2402.08846, table 2 and the repository's logs; arXiv 2110.13900
        "adapter": (18.88 * M, 1e-3), "encoder": (316.62 * M, 5e-3), "llm": (6.738 * B, 1e-3),
    },
    "slam_asr_hubert": {  # the same; arXiv 2106.07447: 964 M
        "adapter": (21.50 * M, 1e-3), "encoder": (964.3 * M, 5e-3), "llm": (6.738 * B, 1e-3),
    },
    "slam_asr_whisper": {"adapter": (21.50 * M, 1e-3), "encoder": (637 * M, 1e-3)},
    "salmonn": {  # arXiv 2310.13289: some 33 M learn; Whisper's encoder 637 M, BEATs 90 M
        "adapter + lora": (33 * M, 0.02), "encoder": (727 * M, 1e-3), "llm": (13.0 * B, 5e-3),
    },
    "llama3_speech": {  # arXiv 2407.21783, section 8
        "encoder": (1 * B, 0.07), "adapter": (100 * M, 0.03), "llm": (8.03 * B, 1e-3),
    },
    "ultravox": {"encoder": (637 * M, 1e-3), "llm": (8.03 * B, 1e-3)},
    "canary_qwen": {"llm": (1.72 * B, 1e-3), "total": (2.5 * B, 0.03)},  # model cards
    "speechverse": {"encoder": (316.62 * M, 5e-3), "llm": (3.09 * B, 2e-3)},
    "audio_flamingo": {"llm": (1.316 * B, 1e-3), "encoder": (87 * M, 0.01)},  # AST: 2104.01778
}  # fmt: skip


@pytest.mark.parametrize("name", STATED)
def test_parameters_are_those_of_the_source(name):
    system, model = anatomy.outline(config.load(name))
    counts = anatomy.count(model)
    counts |= {"total": sum(counts.values()), "adapter + lora": counts["adapter"] + counts["lora"]}
    for part, (stated, allowed) in STATED[name].items():
        assert counts[part] == pytest.approx(stated, rel=allowed), part
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.parametrize("name", ["slam_asr_wavlm", "mini"])
def test_what_learns_in_each_phase(name):
    found = {}
    for phase, learner in memory.each_phase(*anatomy.outline(config.load(name))):
        learning = [p for p in learner.parameters() if p.requires_grad]
        assert all(p.is_meta for p in learning)
        found[phase.name] = sum(p.numel() for p in learning)
    counts = anatomy.count(anatomy.outline(config.load(name))[1])
    if name == "mini":
        assert found["text"] == counts["llm"] and found["tune"] > counts["lora"]
    else:
        assert found == {"adapter": counts["adapter"], "lora": counts["adapter"] + counts["lora"]}


def test_drawing_and_rate():
    preset = config.load("slam_asr_whisper")
    rows = anatomy.drawing(preset, *anatomy.outline(preset), 10.0)
    assert rows == [
        ("wave", "10 s", "(160000,)"),
        ("frontend", "whisper128", "(1000, 128)"),
        ("encoder", "whisper", "(500, 1280)"),
        ("adapter", "linear", "(100, 4096)"),
        ("fusion", "interleave", "100 text positions"),
        ("llm", "vicuna-7b-v1.5", "32 layers of 4096, 32000 entries"),
    ]
    system, _ = anatomy.outline(config.load("audio_flamingo"))
    lengths = anatomy.Lengths.of(system, 10.0)
    assert (lengths.positions, lengths.tokens) == (1, 99)


def test_the_rate_of_an_encoder_bound_to_windows_is_that_of_a_full_one():
    """Ten seconds of Voxtral have the tokens of thirty."""
    system, _ = anatomy.outline(config.load("voxtral"))
    assert anatomy.Lengths.of(system, 10.0).tokens == anatomy.Lengths.of(system, 30.0).tokens == 375
    assert anatomy.rate_hz(system) == 12.5


def test_match_scales_as_the_llm_scales_its_embeddings():
    """Gemma multiplies its embeddings; soft tokens start at what comes out."""
    from speechllm.models import tiny

    sizes = "vocab_size=300,head_dim=8,num_key_value_heads=1,layer_types=['full_attention']"
    gemma = (
        "llm.config={model_type='gemma3_text',hidden_size=64,intermediate_size=64,"
        f"num_hidden_layers=1,num_attention_heads=2,{sizes}}}"
    )
    preset = config.load("slam_asr_wavlm", [gemma, "llm.pretrained=", "adapter.norm=rms"])
    system = tiny.system(preset)
    model = system.build()
    text = model.llm.get_input_embeddings()(torch.arange(model.vocab_size))
    scale = model.adapter.norm.norm.weight.mean().item()
    assert scale == pytest.approx(text.square().mean().sqrt().item(), rel=0.02)
    assert scale > 3 * model.llm.get_input_embeddings().weight.square().mean().sqrt().item()
