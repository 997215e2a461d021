"""AST against transformers' own, from samples to states, and its errors."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from speechllm.models.encoders.ast import Config

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_length": 256,
}


@pytest.fixture(scope="module", params=["ASTModel", "ASTForAudioClassification"])
def checkpoint(request, tmp_path_factory):
    """Save a tiny AST with and without its head: (folder, its encoder)."""
    torch.manual_seed(0)
    model = getattr(transformers, request.param)(transformers.ASTConfig(**TINY)).eval()
    base = getattr(model, "audio_spectrogram_transformer", model)
    for parameter in (base.embeddings.cls_token, base.embeddings.position_embeddings):
        torch.nn.init.normal_(parameter)  # they start as zeros, and would hide a wrong order
    folder = tmp_path_factory.mktemp("ast")
    model.save_pretrained(folder)
    return str(folder), base


def by_column(states):
    """Order states (B, 2 + 12 C, D) of transformers by time: (B, C, 12, D)."""
    return states[:, 2:].unflatten(1, (12, -1)).transpose(1, 2)


@torch.no_grad()
def test_equals_transformers(checkpoint):
    """Their features, our window, our encoder: the states of theirs for every patch within."""
    folder, reference = checkpoint
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(n).astype("float32") * 0.1 for n in (16000, 38000)]
    extractor = transformers.ASTFeatureExtractor(max_length=256)
    theirs = extractor(waves, 16000, return_tensors="pt").input_values
    n = torch.tensor([(len(wave) - 400) // 160 + 1 for wave in waves])
    x = theirs[:, : int(n.max())].clone()
    x[0, n[0] :] = float("nan")  # the window is the encoder's business
    filled = Config(pretrained=folder).build(128)._window(x, n, 256)
    torch.testing.assert_close(filled, theirs, atol=1e-6, rtol=0)

    out = reference(theirs, output_hidden_states=True)
    mean = torch.stack((*out.hidden_states[:-1], out.last_hidden_state)).mean(0)
    for layers, wanted in (("last", out.last_hidden_state), ("weighted", mean)):
        for patches in ("all", "mean"):
            model = Config(pretrained=folder, layers=layers, patches=patches).build(128).eval()
            states, lengths = model(x, n)
            whole = by_column(wanted)
            whole = whole.mean(2) if patches == "mean" else whole.flatten(1, 2)
            torch.testing.assert_close(states, whole[:, : states.shape[1]], atol=1e-5, rtol=0)
            columns = [(frames - 16) // 10 + 1 for frames in n.tolist()]
            assert lengths.tolist() == [c * (1 if patches == "mean" else 12) for c in columns]


@torch.no_grad()
def test_variable_window_of_full_length_equals_transformers(checkpoint):
    """Nothing differs where the utterance fills the window."""
    folder, reference = checkpoint
    x = torch.randn(2, 256, 128)
    wanted = by_column(reference(x).last_hidden_state).flatten(1, 2)
    model = Config(pretrained=folder, window="variable").build(128).eval()
    states, lengths = model(x, torch.tensor([256, 256]))
    torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)
    assert lengths.tolist() == [300, 300]


def test_published_names_are_read(checkpoint):
    """The file has the names of the published checkpoints, which are older than the class."""
    folder, _ = checkpoint
    names = load_file(f"{folder}/model.safetensors")
    assert any(name.endswith("encoder.layer.1.attention.attention.query.weight") for name in names)


def test_errors(tmp_path):
    """Each is one ValueError that says what was wanted."""
    made = Config(config=TINY)
    with pytest.raises(ValueError, match="128 mel bands.*front end of dimension 80"):
        made.build(80)
    with pytest.raises(ValueError, match="at most 256 frames, got 300"):
        made.build(128)(torch.randn(1, 300, 128), torch.tensor([300]))
    with pytest.raises(ValueError, match="'max_lenght'.*did you mean 'max_length'"):
        Config(config={"max_lenght": 3}).count(20)
    with pytest.raises(ValueError, match="no checkpoint there"):
        Config(pretrained=str(tmp_path)).build(128)
    for wrong in ({"window": "10s"}, {"patches": "first"}, {"layers": "first"}):
        with pytest.raises(ValueError, match="must be"):
            Config(**wrong)
