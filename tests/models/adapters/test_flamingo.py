"""Flamingo's resampler equals transformers' own of Idefics."""

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.models.adapters import flamingo


@pytest.mark.parametrize("head_norm", [False, True])
@torch.no_grad()
def test_equals_transformers(head_norm):
    sizes = {"latents": 5, "layers": 2, "heads": 3, "head_dim": 4, "head_norm": head_norm}
    ours = flamingo.Config(**sizes, norm="none").build(12, nn.Embedding(9, 12)).eval()
    for parameter in ours.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    states = torch.randn(2, 7, 12)
    tokens, lengths = ours(states, torch.tensor([7, 7]))
    assert lengths.tolist() == [5, 5]
    torch.testing.assert_close(tokens, ours.resampler(states), atol=1e-5, rtol=0)


def test_a_width_of_its_own_wants_no_spelling_adapter():
    """Soft tokens of another width than the LLM's are no mixture of its embeddings."""
    from speechllm.models import tiny

    preset = config.load("mini", ["fusion={name='flamingo', every=1, width=24}"])
    with pytest.raises(ValueError, match="24 wide, which are not the LLM's own width"):
        tiny.system(preset).build()
