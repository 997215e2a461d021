"""The convolution and Transformer adapter against its definition, in plain torch."""

import pytest
import torch
from torch import nn

from speechllm.models.adapters import conv_transformer

D, H, HIDDEN, HEADS = 12, 16, 24, 4


@pytest.fixture
def model():
    """A tiny one without its last norm."""
    torch.manual_seed(0)
    config = conv_transformer.Config(hidden=HIDDEN, heads=HEADS, ff=40, norm="none")
    return config.build(D, nn.Embedding(9, H)).eval()


def turned(x, base: float = 10000.0):
    """Rotate x (heads, T, C): pairs (c, c + C / 2) by t / base^(2c / C), as complex numbers."""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[1]), base ** (-torch.arange(half) / half))
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([z.real, z.imag], -1)


def by_hand(model, states):
    """One utterance (L, D), step by step: all steps see each other."""
    x = nn.functional.conv1d(
        states.T[None], model.conv.weight, model.conv.bias, stride=2, padding=1
    )[0].T
    (layer,) = model.layers
    y = nn.functional.rms_norm(x, (HIDDEN,), layer.input_layernorm.weight, 1e-6)
    attention = layer.self_attn
    q, k, v = (
        proj(y).reshape(-1, HEADS, HIDDEN // HEADS).transpose(0, 1)
        for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = turned(q) @ turned(k).mT / (HIDDEN // HEADS) ** 0.5
    x = x + attention.o_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(-1, HIDDEN))
    y = nn.functional.rms_norm(x, (HIDDEN,), layer.post_attention_layernorm.weight, 1e-6)
    mlp = layer.mlp
    x = x + mlp.down_proj(nn.functional.silu(mlp.gate_proj(y)) * mlp.up_proj(y))
    return model.linear(x)


@torch.no_grad()
def test_is_its_definition(model):
    """Convolution, rotary attention both ways, gated perceptron, Linear; in a batch, too."""
    lengths = torch.tensor([23, 14, 1])
    states = torch.full((3, 23, D), float("nan"))
    for row, n in enumerate(lengths):
        states[row, :n] = torch.randn(n, D)
    tokens, counts = model(states, lengths)
    assert counts.tolist() == [12, 7, 1]
    for row, n in enumerate(counts):
        wanted = by_hand(model, states[row, : lengths[row]])[:n]
        torch.testing.assert_close(tokens[row, :n], wanted, rtol=0, atol=1e-5)


def test_size_of_llama3():
    """The paper says about 100 M; conformer of width 1536, LLM of 8 B."""
    with torch.device("meta"):
        model = conv_transformer.Config(norm="none").build(1536, nn.Embedding(9, 4096))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == 102


@pytest.mark.parametrize("wrong", [{"stride": 4}, {"heads": 5}, {"layers": 0}, {"norm": "batch"}])
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        conv_transformer.Config(**wrong)
