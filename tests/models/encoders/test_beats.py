"""BEATs: names and shapes as released, conversion, WavLM's encoder as a peer, loud loading."""

import json
import math

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechllm.models.encoders import beats
from speechllm.models.encoders._beats import Attention, Network, Sizes
from speechllm.models.encoders.beats import Config

TINY = {**beats.CONFIG, "encoder_layers": 3}
# What the released checkpoints hold besides the classifier; D = 768, 12 layers.
RELEASED = {
    "patch_embedding.weight": (512, 1, 16, 16),
    "layer_norm.weight": (512,),
    "layer_norm.bias": (512,),
    "post_extract_proj.weight": (768, 512),
    "post_extract_proj.bias": (768,),
    "encoder.pos_conv.0.weight_g": (1, 1, 128),
    "encoder.pos_conv.0.weight_v": (768, 48, 128),
    "encoder.pos_conv.0.bias": (768,),
    "encoder.layer_norm.weight": (768,),
    "encoder.layer_norm.bias": (768,),
}
RELEASED_LAYER = {
    "self_attn.grep_a": (1, 12, 1, 1),
    "self_attn.grep_linear.weight": (8, 64),
    "self_attn.grep_linear.bias": (8,),
    **{f"self_attn.{p}_proj.weight": (768, 768) for p in ("q", "k", "v", "out")},
    **{f"self_attn.{p}_proj.bias": (768,) for p in ("q", "k", "v", "out")},
    "self_attn.relative_attention_bias.weight": (320, 12),
    "self_attn_layer_norm.weight": (768,),
    "self_attn_layer_norm.bias": (768,),
    "fc1.weight": (3072, 768),
    "fc1.bias": (3072,),
    "fc2.weight": (768, 3072),
    "fc2.bias": (768,),
    "final_layer_norm.weight": (768,),
    "final_layer_norm.bias": (768,),
}
CONFIG = {  # as released, sizes apart
    "activation_fn": "gelu",
    "deep_norm": True,
    "layer_norm_first": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
    "layer_wise_gradient_decay_ratio": 0.6,
    "encoder_layerdrop": 0.05,
    "finetuned_model": True,
    "predictor_class": 527,
}


def scattered(**changes) -> Network:
    """Make a tiny network whose every parameter differs from its neutral start."""
    torch.manual_seed(0)
    network = Network(Sizes(**{**TINY, **changes})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def as_released(network: Network) -> dict:
    """Give the state as the authors' module saves it: shared bias in each layer, a classifier."""
    state = dict(network.state_dict())
    bias = state[beats.ORIGINAL]
    for layer in range(1, len(network.encoder.layers)):
        state[f"encoder.layers.{layer}.self_attn.relative_attention_bias.weight"] = bias
    return {**state, "predictor.weight": torch.ones(5, 32), "predictor.bias": torch.ones(5)}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Write a .pt like a released one and convert it as the error message says."""
    network = scattered()
    cfg = {**CONFIG, **TINY}
    torch.save({"cfg": cfg, "model": as_released(network)}, tmp_path / "BEATs.pt")
    monkeypatch.chdir(tmp_path)
    exec(beats.CONVERT, {})
    return tmp_path, network


def test_names_and_shapes_are_the_released_ones():
    """At full size; the bias of positions, which the released file repeats, stands once."""
    with torch.device("meta"):
        network = Network(Sizes())
    wanted = dict(RELEASED)
    for layer in range(12):
        wanted |= {f"encoder.layers.{layer}.{n}": shape for n, shape in RELEASED_LAYER.items()}
        if layer:
            del wanted[f"encoder.layers.{layer}.self_attn.relative_attention_bias.weight"]
    assert {name: tuple(x.shape) for name, x in network.state_dict().items()} == wanted
    assert sum(p.numel() for p in network.parameters()) == 90_311_792  # the paper says 90 M


@torch.no_grad()
def test_a_converted_checkpoint(checkpoint):
    """Converted by the hint, loaded: the same states; weighted layers start as their mean."""
    folder, network = checkpoint
    x, n = torch.randn(2, 30, 16), torch.tensor([30, 17])
    hidden = network(x[1:, :17], torch.tensor([4]))
    made = Config(pretrained=str(folder))
    states, lengths = made.build(16).eval()(x, n)
    assert lengths.tolist() == [28, 16] == made.count(n).tolist()
    torch.testing.assert_close(states[1, :16], hidden[-1][0], atol=1e-5, rtol=0)
    mixed, _ = Config(pretrained=str(folder), layers="weighted").build(16).eval()(x, n)
    torch.testing.assert_close(mixed[1, :16], torch.stack(hidden).mean(0)[0], atol=1e-5, rtol=0)
    short, _ = Config(pretrained=str(folder), patches="mean").build(16).eval()(x, n)
    torch.testing.assert_close(short[1, 1], states[1, 4:8].mean(0), atol=1e-5, rtol=0)


@torch.no_grad()
def test_equals_the_encoder_of_wavlm():
    """Without DeepNorm and with queries that are the states, BEATs' layers are WavLM's.

    WavLM computes the gate from the state, BEATs from the query.
    """
    network = scattered(deep_norm=False)
    for layer in network.encoder.layers:
        layer.self_attn.q_proj.weight.copy_(torch.eye(32))
        layer.self_attn.q_proj.bias.zero_()
    names = {
        "pos_conv.0.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
        "pos_conv.0.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
        "pos_conv.0.bias": "pos_conv_embed.conv.bias",
        "self_attn_layer_norm": "layer_norm",
        "relative_attention_bias": "rel_attn_embed",
        "grep_linear": "gru_rel_pos_linear",
        "grep_a": "gru_rel_pos_const",
        "self_attn": "attention",
        "fc1": "feed_forward.intermediate_dense",
        "fc2": "feed_forward.output_dense",
    }
    state = {}
    for name, x in network.encoder.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[name] = x
    peer = transformers.WavLMModel(
        transformers.WavLMConfig(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=48,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=4,
            num_buckets=16,
            max_bucket_distance=30,
        )
    ).encoder.eval()
    peer.load_state_dict(state)
    x, n = torch.randn(2, 70, 32), torch.tensor([70, 41])
    found = network.encoder(x.clone(), n)[-1]
    wanted = peer(x.clone(), attention_mask=torch.arange(70) < n[:, None]).last_hidden_state
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1, :41], wanted[1, :41], atol=1e-5, rtol=0)


@torch.no_grad()
def test_attention_is_its_formula():
    """One head, one query at a time: softmax(q k / sqrt(d) + gate(q) bias) v."""
    torch.manual_seed(0)
    layer = Attention(6, 1, 0.0)
    layer.add_distances(16, 30)
    torch.nn.init.normal_(layer.relative_attention_bias.weight)
    torch.nn.init.normal_(layer.grep_a)
    x = torch.randn(9, 6)
    q, k, v = layer.q_proj(x), layer.k_proj(x), layer.v_proj(x)
    bias, rows = layer.bias(9), []
    for i in range(9):
        a, b = (torch.sigmoid(layer.grep_linear(q[i])[p].sum()) for p in (slice(4), slice(4, 8)))
        gate = 2 + a * (b * layer.grep_a.item() - 1)
        scores = [(q[i] @ k[j] / math.sqrt(6) + gate * bias[0, i, j]).item() for j in range(9)]
        rows.append(torch.tensor(scores).softmax(0) @ v)
    found = layer(x[None], bias, torch.ones(1, 1, 1, 9, dtype=torch.bool))[0]
    torch.testing.assert_close(found, layer.out_proj(torch.stack(rows)), atol=1e-5, rtol=0)


def test_loading_is_loud(checkpoint):
    """Keys missing, unexpected, of another shape, a bias that is not shared: listed."""
    folder, _ = checkpoint
    file = folder / "model.safetensors"
    whole = load_file(file)
    key, twin = "encoder.layer_norm.weight", beats.ORIGINAL.replace(".0.", ".2.")
    rest = {name: x for name, x in whole.items() if name != key}
    for tensors, message in (
        ({**rest, "foo": whole[key]}, rf"unexpected: foo; missing: {key}"),
        ({**rest, key: whole[key][:5].clone()}, rf"shape: {key} \(5,\) for \(32,\)"),
        ({**whole, twin: whole[twin] + 1}, rf"not that of the first layer: {twin}"),
    ):
        save_file(tensors, file)
        with pytest.raises(ValueError, match=message):
            Config(pretrained=str(folder)).build(16)
    save_file({name: x for name, x in whole.items() if name != twin}, file)
    Config(pretrained=str(folder)).build(16)  # the repeated bias may be left out
    file.unlink()
    with pytest.raises(ValueError, match=r"cannot be loaded.*pickle.*\n(.*\n)+.*save_file"):
        Config(pretrained=str(folder)).build(16)


def test_errors(checkpoint):
    """Each is one ValueError that says what was wanted."""
    folder, _ = checkpoint
    with pytest.raises(ValueError, match="16 mel bands.*front end of dimension 80"):
        Config(pretrained=str(folder)).build(80)
    with pytest.raises(ValueError, match="no setting called 'embed_dims'; did you mean 'embed_dim"):
        Config(config={"embed_dims": 3}).count(20)
    with pytest.raises(ValueError, match="conv_pos: wanted a whole number"):
        Config(config={"conv_pos": "wide"}).count(20)
    with pytest.raises(ValueError, match="num_mel_bins must be a multiple of input_patch_size=16"):
        Config(config={"num_mel_bins": 100}).count(20)
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**found, "layer_norm_first": True}))
    with pytest.raises(ValueError, match="layer_norm_first is True; only False"):
        Config(pretrained=str(folder)).count(20)
    (folder / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(ValueError, match="wanted a beats checkpoint"):
        Config(pretrained=str(folder)).count(20)
    with pytest.raises(ValueError, match=r"no checkpoint there.*pickle"):
        Config(pretrained=str(folder / "x")).count(20)
    for wrong in ({"patches": "first"}, {"layers": "first"}):
        with pytest.raises(ValueError, match="must be"):
            Config(**wrong)
