"""Linear and conv adapters against their definition, and the scale that all start from."""

from functools import partial

import pytest
import torch
from torch import nn

from speechllm.models.adapters import (
    conv,
    conv_transformer,
    ctc_compress,
    linear,
    mlp,
    perceiver,
    pool,
    qformer,
    swiglu,
    window_qformer,
)


@torch.no_grad()
def test_linear_is_its_definition():
    """Each token is the two Linears over `stack` neighbouring states."""
    model = linear.Config(stack=3, hidden=16, norm="none").build(4, nn.Embedding(9, 6))
    states = torch.randn(1, 10, 4)
    tokens, lengths = model(states, torch.tensor([10]))
    for k in range(3):
        stacked = states[0, 3 * k : 3 * k + 3].flatten()
        torch.testing.assert_close(tokens[0, k], model.linear2(model.linear1(stacked).relu()))
    assert lengths.tolist() == [3] and tokens.shape[1] == 3  # the tenth state is dropped


@torch.no_grad()
def test_linear_fills_an_incomplete_stack_with_zeros():
    """With rest = "pad" always, else only where there is less than one stack."""
    states = torch.randn(1, 4, 4)
    padded = torch.cat([states, torch.zeros(1, 2, 4)], 1)
    model = linear.Config(stack=3, hidden=16, rest="pad").build(4, nn.Embedding(9, 6))
    torch.testing.assert_close(
        model(states, torch.tensor([4]))[0], model(padded, torch.tensor([6]))[0]
    )
    model = linear.Config(stack=6, hidden=16).build(4, nn.Embedding(9, 6))
    tokens, lengths = model(states, torch.tensor([4]))
    torch.testing.assert_close(tokens, model(padded, torch.tensor([6]))[0])
    assert lengths.tolist() == [1]


@pytest.mark.parametrize("width,millions", [(1024, 18.88), (1280, 21.50)])
def test_size_of_slam_asr(width, millions):
    """The SLAM-LLM README states 18.88 M with WavLM-large, 21.50 M with HuBERT-XL, H = 4096."""
    with torch.device("meta"):
        model = linear.Config(norm="none").build(width, nn.Embedding(9, 4096))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("kernel,stride", [(3, 2), (5, 2), (4, 3), (2, 2), (1, 1), (5, 1)])
@torch.no_grad()
def test_conv_is_centred(kernel, stride):
    """Token i sees the states around i * stride, and nothing else."""
    model = (
        conv.Config(layers=1, kernel=kernel, stride=stride, norm="none")
        .build(4, nn.Embedding(9, 6))
        .eval()
    )
    states = torch.randn(1, 20, 4)
    before, lengths = model(states, torch.tensor([20]))
    left = (kernel - 1) // 2
    for i in (0, 3, int(lengths) - 1):
        moved = states.clone()
        inside = range(max(0, i * stride - left), min(20, i * stride - left + kernel))
        outside = [t for t in range(20) if t not in inside]
        moved[0, outside] = 100.0
        assert torch.equal(model(moved, torch.tensor([20]))[0][0, i], before[0, i]), i


SMALL = {"hidden": 24, "heads": 4}
MATCHED = [
    conv.Config,
    partial(conv_transformer.Config, ff=32, **SMALL),
    ctc_compress.Config,
    linear.Config,
    mlp.Config,
    partial(perceiver.Config, head_dim=8),
    pool.Config,
    partial(qformer.Config, layers=2, **SMALL),
    swiglu.Config,
    partial(window_qformer.Config, **SMALL),
]


@pytest.mark.parametrize("norm", ["rms", "layer"])
@pytest.mark.parametrize("made", MATCHED)
@torch.no_grad()
def test_tokens_start_at_the_scale_of_text(made, norm):
    """`match` takes the root mean square of embeddings; an asked scale stays."""
    embeddings = torch.randn(100, 64) * 0.02
    states, lengths = torch.randn(2, 30, 8) * 50, torch.tensor([30, 30])
    model = made(norm=norm).build(8, nn.Embedding(9, 64)).eval()
    assert model(states, lengths)[0].square().mean().sqrt() == pytest.approx(1.0, rel=0.02)
    model.match(embeddings)
    assert model(states, lengths)[0].square().mean().sqrt() == pytest.approx(0.02, rel=0.05)
    asked = made(norm=norm, norm_scale=0.4).build(8, nn.Embedding(9, 64)).eval()
    asked.match(embeddings)
    assert asked(states, lengths)[0].square().mean().sqrt() == pytest.approx(0.4, rel=0.02)
    made(norm="none").build(8, nn.Embedding(9, 64)).match(embeddings)  # nothing to set, no error


@pytest.mark.parametrize(
    "made,wrong",
    [
        (linear.Config, {"stack": 0}),
        (linear.Config, {"activation": "tanh"}),
        (linear.Config, {"rest": "keep"}),
        (linear.Config, {"norm": "batch"}),
        (linear.Config, {"norm_scale": -1.0}),
        (conv.Config, {"layers": 0}),
        (conv.Config, {"stride": 4}),
        (conv.Config, {"norm": "batch"}),
    ],
)
def test_errors(made, wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        made(**wrong)
