"""The perceptron against the projectors of transformers that it stands for."""

import pytest
import torch
from torch import nn
from transformers import AudioFlamingo3Config, VoxtralConfig
from transformers.models.audioflamingo3.modeling_audioflamingo3 import (
    AudioFlamingo3MultiModalProjector,
)
from transformers.models.phi4_multimodal import modeling_phi4_multimodal as phi4
from transformers.models.voxtral.modeling_voxtral import VoxtralMultiModalProjector

from speechllm.models.adapters import mlp

D, H = 12, 16


def built(**options):
    """Build the adapter without its last norm, in evaluation mode."""
    return mlp.Config(norm="none", **options).build(D, nn.Embedding(9, H)).eval()


def take(model, linears):
    """Load the weights of other Linears, in order."""
    own = [layer for layer in model.mlp if isinstance(layer, nn.Linear)]
    for mine, other in zip(own, linears, strict=True):
        mine.load_state_dict(other.state_dict())


@torch.no_grad()
def test_equals_voxtral():
    """Four states side by side, as its reshape does; no bias."""
    fields = {"hidden_size": D, "intermediate_size": 4 * D, "num_attention_heads": 2}
    text = {"hidden_size": H, "num_attention_heads": 2}
    theirs = VoxtralMultiModalProjector(VoxtralConfig(audio_config=fields, text_config=text))
    model = built(stack=4, bias=False)
    take(model, [theirs.linear_1, theirs.linear_2])
    states = torch.randn(2, 20, D)
    wanted = theirs(states.reshape(-1, 4 * D)).reshape(2, 5, H)
    torch.testing.assert_close(model(states, torch.tensor([20, 20]))[0], wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_equals_audio_flamingo_3():
    """One token a state of its pooling encoder."""
    fields = {"hidden_size": D, "num_attention_heads": 2}
    text = {"hidden_size": H, "num_attention_heads": 2}
    config = AudioFlamingo3Config(audio_config=fields, text_config=text)
    theirs = AudioFlamingo3MultiModalProjector(config)
    model = built()
    take(model, [theirs.linear_1, theirs.linear_2])
    states = torch.randn(2, 7, D)
    found = model(states, torch.tensor([7, 7]))[0]
    torch.testing.assert_close(found, theirs(states), rtol=0, atol=1e-5)


@torch.no_grad()
def test_equals_phi4():
    """Its speech projection, up and down with GELU between: called as its module calls it."""
    config = phi4.Phi4MultimodalConfig(
        hidden_size=H,
        num_attention_heads=2,
        num_key_value_heads=2,
        audio_config={
            "hidden_size": D,
            "num_blocks": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "nemo_conv_channels": 8,
            "ext_pw_out_channel": D,
            "downsample_rate": 1,
            "audio_token_id": 5,
        },
    )
    theirs = phi4.Phi4MultimodalAudioEmbedding(config)
    states = torch.randn(1, 7, D)
    theirs.encoder.forward = lambda *_: states  # its encoder's answer
    model = built()
    take(model, [theirs.up_proj_for_speech, theirs.down_proj_for_speech])
    wanted = theirs(
        torch.full((1, 7), 5),
        torch.zeros(1, 7, H),
        torch.zeros(1, 7, 80),
        audio_embed_sizes=torch.tensor([7]),
    )
    found = model(states, torch.tensor([7]))[0]
    torch.testing.assert_close(found, wanted.reshape(1, 7, H), rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 4])
@torch.no_grad()
def test_is_its_definition(layers):
    """Linears with an activation between them, none last; `hidden` between them."""
    model = built(layers=layers, hidden=5, activation="relu", stack=3)
    linears = [layer for layer in model.mlp if isinstance(layer, nn.Linear)]
    widths = [(layer.in_features, layer.out_features) for layer in linears]
    assert len(linears) == layers and widths[0][0] == 3 * D and widths[-1][1] == H
    assert all(b == 5 for _, b in widths[:-1])
    states = torch.randn(1, 9, D)
    x = states.reshape(1, 3, 3 * D)
    for i, layer in enumerate(linears):
        x = layer(x if i == 0 else x.relu())
    torch.testing.assert_close(model(states, torch.tensor([9]))[0], x)


@pytest.mark.parametrize(
    "wrong",
    [{"layers": -1}, {"hidden": -1}, {"stack": 0}, {"activation": "tanh"}, {"rest": "keep"}],
)
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        mlp.Config(**wrong)
