"""The Perceiver adapter against Idefics2's resampler, alone and in a batch."""

import pytest
import torch
from torch import nn
from transformers.models.idefics2 import modeling_idefics2 as idefics2

from speechllm.models.adapters import perceiver

D, H, HIDDEN, LATENTS = 12, 16, 24, 5
SIZES = {"latents": LATENTS, "heads": 4, "kv_heads": 2, "head_dim": 8, "layers": 2}


@torch.no_grad()
def test_equals_idefics2():
    """A Linear, its resampler with the same weights, a Linear; whatever stands in the padding."""
    torch.manual_seed(0)
    theirs = idefics2.Idefics2PerceiverResampler(
        idefics2.Idefics2PerceiverConfig(
            hidden_size=HIDDEN,
            resampler_n_latents=LATENTS,
            resampler_n_heads=4,
            num_key_value_heads=2,
            resampler_head_dim=8,
            resampler_depth=2,
        )
    ).eval()
    for p in theirs.parameters():  # it starts so small that no state matters
        nn.init.normal_(p, std=0.5)
    config = perceiver.Config(hidden=HIDDEN, norm="none", **SIZES)
    model = config.build(D, nn.Embedding(9, H)).eval()
    model.resampler.load_state_dict(theirs.state_dict())
    lengths = torch.tensor([20, 7])
    states = torch.randn(2, 20, D)
    states[1, 7:] = float("nan")
    tokens, counts = model(states, lengths)
    assert counts.tolist() == [LATENTS] * 2
    for row, n in enumerate(lengths):
        x = model.linear1(states[row : row + 1, :n])
        wanted = model.linear2(theirs(x, torch.ones(1, n, dtype=torch.long)))
        torch.testing.assert_close(tokens[row : row + 1], wanted, rtol=0, atol=1e-5)


def test_latents_start_different():
    """Theirs start as ones; latents that are alike would stay alike for ever."""
    torch.manual_seed(0)
    model = perceiver.Config(**SIZES).build(D, nn.Embedding(9, H)).eval()
    tokens, _ = model(torch.randn(1, 20, D), torch.tensor([20]))
    assert torch.pdist(tokens[0]).min() > 0.1


@pytest.mark.parametrize(
    "wrong", [{"latents": 0}, {"hidden": -1}, {"kv_heads": 5}, {"layers": 0}, {"norm": "batch"}]
)
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        perceiver.Config(**wrong)
