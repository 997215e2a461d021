"""wav2vec2, HuBERT, WavLM, data2vec against transformers' own; loading; what is mended."""

import importlib

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechllm.models.encoders._waveform import UtteranceNorm
from speechllm.models.hub import load_weights

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 30,
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
}
FAMILIES = [("wav2vec2", "Wav2Vec2"), ("hubert", "Hubert"), ("wavlm", "WavLM")]
DATA2VEC = {**TINY, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
HEADS = [("hubert", "Hubert", "ForCTC"), ("wavlm", "WavLM", "ForCTC")]
HEADS += [("wav2vec2", "Wav2Vec2", "ForCTC"), ("wav2vec2", "Wav2Vec2", "ForPreTraining")]


def ours(name: str, **settings):
    """Make the Config of one of the three."""
    return importlib.import_module(f"speechllm.models.encoders.{name}").Config(**settings)


def theirs(family: str, head: str = "Model", norm: str = "layer", **fields):
    """Make a tiny model of transformers, SpecAugment on as in checkpoints."""
    torch.manual_seed(0)
    stable = norm == "layer"
    config = getattr(transformers, f"{family}Config")(
        **{**TINY, **fields},
        feat_extract_norm=norm,
        do_stable_layer_norm=stable,
        conv_bias=stable,
    )
    return getattr(transformers, family + head)(config).eval()


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("name,family", FAMILIES)
@torch.no_grad()
def test_alone_equals_transformers(name, family, norm, tmp_path):
    """One utterance, no padding: the states of transformers, with published strides."""
    reference = theirs(family, norm=norm)
    reference.save_pretrained(tmp_path)
    made = ours(name, pretrained=str(tmp_path))
    model = made.build(1).eval()
    x = torch.randn(1, 8000)
    states, lengths = model(x, torch.tensor([8000]))
    torch.testing.assert_close(states, reference(x).last_hidden_state, atol=1e-5, rtol=0)
    assert lengths.tolist() == [states.shape[1]] == [made.count(8000)]
    n = torch.arange(400, 40000, 7)
    assert made.count(n).equal(reference._get_feat_extract_output_lengths(n))
    assert made.count(399) == 0 and made.count(400) == 1


@pytest.mark.parametrize("head", ["Model", "ForCTC"])
@torch.no_grad()
def test_data2vec_equals_transformers(head, tmp_path):
    """Last and weighted states of an utterance alone, with published strides and positions."""
    torch.manual_seed(0)
    fields = {key: value for key, value in DATA2VEC.items() if "codevec" not in key}
    reference = getattr(transformers, f"Data2VecAudio{head}")(
        transformers.Data2VecAudioConfig(**fields)
    ).eval()
    reference.save_pretrained(tmp_path)
    x = torch.randn(1, 8000)
    wanted = getattr(reference, "data2vec_audio", reference)(x, output_hidden_states=True)
    for layers, states in (
        ("last", wanted.last_hidden_state),
        ("weighted", torch.stack(wanted.hidden_states).mean(0)),
    ):
        made = ours("data2vec_audio", pretrained=str(tmp_path), layers=layers)
        found, lengths = made.build(1).eval()(x, torch.tensor([8000]))
        torch.testing.assert_close(found, states, atol=1e-5, rtol=0)
        assert lengths.tolist() == [made.count(8000)] == [found.shape[1]]


@torch.no_grad()
def test_data2vec_in_a_batch(tmp_path):
    """What padding does to transformers' own states, and no longer does to ours."""
    torch.manual_seed(0)
    fields = {key: value for key, value in DATA2VEC.items() if "codevec" not in key}
    reference = transformers.Data2VecAudioModel(transformers.Data2VecAudioConfig(**fields)).eval()
    reference.save_pretrained(tmp_path)
    model = ours("data2vec_audio", pretrained=str(tmp_path)).build(1).eval()
    x, n = torch.randn(2, 8000), torch.tensor([8000, 5000])
    alone = reference(x[1:, :5000]).last_hidden_state[0]
    mask = torch.arange(8000) < n[:, None]
    padded = reference(x * mask, attention_mask=mask).last_hidden_state[1, : len(alone)]
    assert (padded - alone).abs().max() > 0.1
    torch.testing.assert_close(model(x, n)[0][1, : len(alone)], alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_hubert_with_batch_norm_before_its_positions(tmp_path):
    """Its bias fills the padding in transformers, which the convolution sees; not in ours."""
    reference = theirs("Hubert", conv_pos_batch_norm=True)
    norm = reference.encoder.pos_conv_embed.batch_norm
    for values in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(values, std=0.5)
    reference.save_pretrained(tmp_path)
    model = ours("hubert", pretrained=str(tmp_path)).build(1).eval()
    x, n = torch.randn(2, 8000), torch.tensor([8000, 5000])
    alone = reference(x[1:, :5000]).last_hidden_state[0]
    mask = torch.arange(8000) < n[:, None]
    padded = reference(x * mask, attention_mask=mask).last_hidden_state[1, : len(alone)]
    assert (padded - alone).abs().max() > 0.05
    torch.testing.assert_close(model(x, n)[0][1, : len(alone)], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name,family,head", HEADS)
@torch.no_grad()
def test_heads_are_left_behind(name, family, head, tmp_path):
    """A checkpoint of recognition or pretraining loads; SpecAugment is off, however trained."""
    reference = theirs(family, head)
    reference.save_pretrained(tmp_path)
    model = ours(name, pretrained=str(tmp_path)).build(1)
    assert model.model.config.mask_time_prob == 0 and model.model.config.layerdrop == 0
    assert not any("masked_spec_embed" in key for key in model.state_dict())
    asked = ours(name, pretrained=str(tmp_path), config={"mask_time_prob": 0.1}).build(1)
    assert any("masked_spec_embed" in key for key in asked.state_dict())


@torch.no_grad()
def test_old_names_of_weight_norm_are_read(tmp_path):
    """Published checkpoints call the two halves of the positions' weight weight_g and weight_v."""
    reference = theirs("WavLM")
    reference.save_pretrained(tmp_path)
    file, x = tmp_path / "model.safetensors", torch.randn(1, 4000)
    new = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    old = "encoder.pos_conv_embed.conv.weight_"
    tensors = {
        k.replace(f"{new}0", f"{old}g").replace(f"{new}1", f"{old}v"): v
        for k, v in load_file(file).items()
    }
    assert sum("weight_g" in k or "weight_v" in k for k in tensors) == 2
    save_file(tensors, file, {"format": "pt"})
    model = ours("wavlm", pretrained=str(tmp_path)).build(1).eval()
    states, _ = model(x, torch.tensor([4000]))
    torch.testing.assert_close(states, reference(x).last_hidden_state, atol=1e-5, rtol=0)


def test_loading_is_loud(tmp_path):
    """Keys missing, unexpected or of another shape are listed; a pickle is refused."""
    theirs("Hubert").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    key = "encoder.layer_norm.weight"
    other = {k: v for k, v in whole.items() if k != key}
    save_file({**other, "foo": whole[key]}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"missing: {key}; unexpected: foo"):
        ours("hubert", pretrained=str(tmp_path)).build(1)
    save_file({**other, key: whole[key][:5].clone()}, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"other shape: encoder.layer_norm.weight \(5,\) for \(32,"
    ):
        ours("hubert", pretrained=str(tmp_path)).build(1)
    file.write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match="cannot be loaded"):
        ours("hubert", pretrained=str(tmp_path)).build(1)
    torch.save(whole, tmp_path / "pytorch_model.bin")
    file.unlink()
    with pytest.raises(ValueError, match="only safetensors are read"):
        ours("hubert", pretrained=str(tmp_path)).build(1)


def test_errors(tmp_path):
    """Another family, another front end, an adapter inside."""
    theirs("Hubert").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="wanted a wavlm checkpoint, .*hubert"):
        ours("wavlm", pretrained=str(tmp_path)).build(1)
    with pytest.raises(ValueError, match="wave16k.*dimension 80"):
        ours("hubert", config=TINY).build(80)
    with pytest.raises(ValueError, match="add_adapter"):
        ours("wav2vec2", config={"add_adapter": True}).count(400)
    with pytest.raises(ValueError, match="hidden_size.*expected int"):
        ours("hubert", config={"hidden_size": "wide"}).count(400)


@pytest.mark.parametrize("channels,frames", [(4, 50), (7, 3)])
def test_utterance_norm(channels, frames):
    """Full rows: torch's GroupNorm, forward and backward. Short rows: the row by itself."""
    theirs = torch.nn.GroupNorm(channels, channels)
    torch.nn.init.normal_(theirs.weight)
    torch.nn.init.normal_(theirs.bias)
    mine = UtteranceNorm.like(theirs)
    x = torch.randn(3, channels, frames) * 5 + 2
    mine.lengths = torch.tensor([frames, frames, 2])
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted = torch.cat(
        [theirs(b[:2]), torch.nn.functional.pad(theirs(b[2:, :, :2]), (0, frames - 2))]
    )
    found = mine(a)
    keep = torch.ones_like(x)
    keep[2, :, 2:] = 0
    torch.testing.assert_close(found * keep, wanted, atol=2e-5, rtol=1e-4)
    noise = torch.randn_like(x) * keep
    (found * noise).sum().backward()
    (wanted * noise).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-3)
    assert [k for k, _ in mine.named_parameters()] == [k for k, _ in theirs.named_parameters()]


def test_loading_keeps_the_log_level(tmp_path):
    """Quiet while loading, as before afterwards."""
    from transformers.utils import logging

    reference = theirs("Hubert")
    reference.save_pretrained(tmp_path)
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_weights(transformers.HubertModel, str(tmp_path), reference.config)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)
