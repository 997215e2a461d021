"""The pooling adapter against Qwen2-Audio's pooling, norm and projector, and torch's pooling."""

import pytest
import torch
from torch import nn
from transformers import Qwen2AudioConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import (
    Qwen2AudioEncoder,
    Qwen2AudioMultiModalProjector,
)

from speechllm.models.adapters import pool

D, H = 12, 16


@pytest.mark.parametrize("n", [20, 21])
@torch.no_grad()
def test_equals_qwen2_audio(n):
    """What stands after the layers of its encoder: pooling, LayerNorm; then its projector."""
    config = Qwen2AudioConfig(
        audio_config={
            "d_model": D,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 8,
            "max_source_positions": 8,
        },
        text_config={"model_type": "qwen2", "hidden_size": H, "num_attention_heads": 2},
    )
    encoder = Qwen2AudioEncoder(config.audio_config)
    projector = Qwen2AudioMultiModalProjector(config)
    nn.init.normal_(encoder.layer_norm.weight)
    nn.init.normal_(encoder.layer_norm.bias)
    model = pool.Config(layer_norm=True, norm="none").build(D, nn.Embedding(9, H)).eval()
    model.layer_norm.load_state_dict(encoder.layer_norm.state_dict())
    model.mlp[0].load_state_dict(projector.linear.state_dict())
    states = torch.randn(2, n, D)
    pooled = encoder.avg_pooler(states.transpose(1, 2)).transpose(1, 2)
    wanted = projector(encoder.layer_norm(pooled))
    tokens, lengths = model(states, torch.tensor([n, n]))
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-5)
    assert lengths.tolist() == [10, 10]


@pytest.mark.parametrize("rest", ["drop", "pad"])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@torch.no_grad()
def test_equals_torch_pooling(stride, rest):
    """A mean counts only the steps that are there, whatever stands in the padding."""
    model = pool.Config(stride=stride, rest=rest, norm="none").build(D, nn.Embedding(9, H))
    theirs = nn.AvgPool1d(stride, ceil_mode=rest == "pad")
    states = torch.full((12, 12, D), float("nan"))
    lengths = torch.arange(1, 13)
    for row, n in enumerate(lengths):
        states[row, :n] = torch.randn(n, D)
    tokens, counts = model(states, lengths)
    for row, n in enumerate(lengths.tolist()):
        own = states[row : row + 1, :n]
        # shorter than one group: the mean of what there is
        wanted = theirs(own.mT).mT if n >= stride else own.mean(1, keepdim=True)
        assert counts[row] == wanted.shape[1]
        found = tokens[row : row + 1, : counts[row]]
        torch.testing.assert_close(found, model.mlp(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"stride": 0}, {"layers": 0}, {"rest": "keep"}, {"norm": "l"}])
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pool.Config(**wrong)
