"""Granite's conformer against transformers' own, whole and in part; what padding did; errors."""

import pytest
import torch
import transformers

from speechllm.models.encoders import granite_conformer
from speechllm.models.encoders.granite_conformer import Config

TINY = {**granite_conformer.CONFIG, "input_dim": 16, "num_layers": 4}
LLM = {
    "model_type": "granite",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}
QFORMER = {
    "model_type": "blip_2_qformer",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "encoder_hidden_size": 32,
}


@pytest.fixture(scope="module", params=["encoder", "whole"])
def checkpoint(request, tmp_path_factory):
    """Save a tiny encoder, or a tiny Granite speech: (folder, its encoder)."""
    torch.manual_seed(0)
    encoder = transformers.GraniteSpeechEncoderConfig(**TINY)
    if request.param == "encoder":
        model = transformers.models.granite_speech.GraniteSpeechCTCEncoder(encoder)
    else:
        model = transformers.GraniteSpeechForConditionalGeneration(
            transformers.GraniteSpeechConfig(
                encoder_config=encoder,
                text_config=LLM,
                projector_config=QFORMER,
                has_lora_adapter=False,
            )
        )
    for module in model.modules():  # statistics that differ from a fresh norm's
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    folder = tmp_path_factory.mktemp("granite")
    model.eval().save_pretrained(folder)
    return str(folder), model if request.param == "encoder" else model.model.encoder


@torch.no_grad()
@pytest.mark.parametrize("frames", [20, 40, 47, 83])
def test_alone_equals_transformers(checkpoint, frames):
    """Blocks that are full and not, an odd frame; last and weighted."""
    folder, reference = checkpoint
    x, n = torch.randn(1, frames, 8), torch.tensor([frames])
    out = reference(x[:, : frames // 2 * 2].reshape(1, -1, 16), output_hidden_states=True)
    for layers, wanted in (
        ("last", out.last_hidden_state),
        ("weighted", torch.stack(out.hidden_states).mean(0)),
    ):
        made = Config(pretrained=folder, layers=layers)
        states, lengths = made.build(8).eval()(x, n)
        torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)
        assert lengths.tolist() == [frames // 2] == [made.count(frames)] and made.dim == 32


@torch.no_grad()
def test_in_a_batch(checkpoint):
    """What padding does to transformers' own states, and not to ours."""
    folder, reference = checkpoint
    x = torch.randn(2, 46, 8)
    x[1, 24:] = 0
    alone = reference(x[1:, :24].reshape(1, -1, 16)).last_hidden_state[0]
    padded = reference(x.reshape(2, -1, 16)).last_hidden_state[1, :12]
    assert (padded - alone).abs().max() > 0.02
    x[1, 24:] = float("nan")
    states, _ = Config(pretrained=folder).build(8).eval()(x, torch.tensor([46, 24]))
    torch.testing.assert_close(states[1, :12], alone, atol=1e-5, rtol=0)


def test_errors(checkpoint, tmp_path):
    """Each is one ValueError that says what was wanted."""
    folder, _ = checkpoint
    with pytest.raises(ValueError, match="wants 16 features.* 8 mel bands.*dimension 80"):
        Config(pretrained=folder).build(80)
    with pytest.raises(ValueError, match="'context'.*did you mean 'context_size'"):
        _ = Config(config={"context": 3}).dim
    with pytest.raises(ValueError, match="missing: layers.4"):
        Config(pretrained=folder, config={"num_layers": 5}).build(8)
    transformers.WhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="wanted a granite_speech_encoder checkpoint, .*whisper"):
        _ = Config(pretrained=str(tmp_path)).dim
    for wrong in ({"stack": 0}, {"layers": "first"}):
        with pytest.raises(ValueError, match="must be"):
            Config(**wrong)
