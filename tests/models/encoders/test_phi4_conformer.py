"""Phi-4's conformer against transformers' own, short and above 40 s; what padding did; errors."""

import pytest
import torch
import transformers
from transformers.models.phi4_multimodal import modeling_phi4_multimodal

from speechllm.models.encoders import phi4_conformer
from speechllm.models.encoders.phi4_conformer import Config

TINY = {**phi4_conformer.CONFIG, "num_blocks": 3}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Save a tiny encoder with statistics of its own: (folder, the encoder)."""
    torch.manual_seed(0)
    hf = transformers.Phi4MultimodalAudioConfig(**TINY)
    model = modeling_phi4_multimodal.Phi4MultimodalAudioModel(hf).eval()
    for name, parameter in model.named_parameters():  # wide enough for each frame to matter
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.4 * parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    torch.nn.init.normal_(model.encoder_embedding.global_mean)
    torch.nn.init.uniform_(model.encoder_embedding.global_invstd, 0.5, 2.0)
    folder = tmp_path_factory.mktemp("phi4")
    model.save_pretrained(folder)
    return str(folder), model


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 7, 15, 17, 100, 4000, 4001, 8200])
def test_alone_equals_transformers(checkpoint, frames):
    """Every rest of the subsampling, one piece of 40 s, one and two and a rest."""
    folder, reference = checkpoint
    x = torch.randn(1, frames, 16, generator=torch.Generator().manual_seed(frames))
    made = Config(pretrained=folder)
    states, lengths = made.build(16).eval()(x, torch.tensor([frames]))
    torch.testing.assert_close(states, reference(x, None), atol=1e-5, rtol=0)
    assert lengths.tolist() == [made.count(frames)] == [states.shape[1]] and made.dim == 32


@torch.no_grad()
@pytest.mark.parametrize("frames", [(900, 437, 30), (4300, 4001, 900)])
def test_in_a_batch(checkpoint, frames):
    """Each row as alone, whatever stands in the padding, also where others are above 40 s."""
    folder, reference = checkpoint
    x, lengths = torch.randn(3, frames[0], 16), torch.tensor(frames)
    for row, n in enumerate(frames):
        x[row, n:] = float("nan")
    states, counts = Config(pretrained=folder).build(16).eval()(x, lengths)
    for row, n in enumerate(frames):
        alone = reference(x[row : row + 1, :n], None)[0]
        torch.testing.assert_close(states[row, : counts[row]], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_padding_does_in_transformers(checkpoint):
    """Its mask is added as 1 or 0: padded rows change, and above 40 s a batch is an error there."""
    _, reference = checkpoint
    x, lengths = torch.randn(2, 800, 16), torch.tensor([800, 400])
    x[1, 400:] = 0
    padded = reference(x, torch.arange(800) < lengths[:, None])[1, :50]
    assert (padded - reference(x[1:, :400], None)[0]).abs().max() > 0.01
    with pytest.raises(RuntimeError, match="view size"):
        reference(torch.randn(2, 4001, 16), torch.ones(2, 4001, dtype=torch.bool))


def test_errors(checkpoint, tmp_path):
    """Each is one ValueError that says what was wanted."""
    folder, _ = checkpoint
    with pytest.raises(ValueError, match="wants 16 mel bands.*dimension 80"):
        Config(pretrained=folder).build(80)
    with pytest.raises(ValueError, match="'hidden'.*did you mean 'hidden_size'"):
        _ = Config(config={"hidden": 3}).dim
    with pytest.raises(ValueError, match="chunk_size -1, no streaming, got 18"):
        Config(config={**TINY, "chunk_size": 18}).build(16)
    with pytest.raises(ValueError, match=r"missing: encoders\.3"):
        Config(pretrained=folder, config={"num_blocks": 4}).build(16)
    transformers.WhisperConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="wanted a phi4_multimodal_audio checkpoint, .*whisper"):
        _ = Config(pretrained=str(tmp_path)).dim
    with pytest.raises(ValueError, match="must be"):
        Config(layers="first")
