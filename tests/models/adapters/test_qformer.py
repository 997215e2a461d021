"""The Q-Former adapter against BLIP-2 as transformers has it, from its image encoder on."""

import pytest
import torch
from torch import nn
from transformers import Blip2Config, Blip2ForConditionalGeneration

from speechllm.models.adapters import qformer

D, H, HIDDEN, QUERIES = 12, 16, 24, 5


@pytest.fixture
def blip2():
    """A tiny BLIP-2 with large random weights: it starts so small that no state matters."""
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config={
            "hidden_size": D,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        qformer_config={
            "hidden_size": HIDDEN,
            "intermediate_size": 4 * HIDDEN,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "encoder_hidden_size": D,
        },
        text_config={
            "model_type": "opt",
            "hidden_size": H,
            "word_embed_proj_dim": H,
            "ffn_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 60,
        },
        num_query_tokens=QUERIES,
        image_token_index=59,
    )
    model = Blip2ForConditionalGeneration(config).eval()
    parts = (model.vision_model, model.qformer)
    for p in [model.query_tokens, *(p for part in parts for p in part.parameters())]:
        nn.init.normal_(p, std=0.5)
    return model


@torch.no_grad()
def test_equals_blip2(blip2):
    """The same states in, the same soft tokens out; padding beside them changes nothing."""
    seen = []
    blip2.language_projection.register_forward_hook(lambda *args: seen.append(args[-1]))
    pixels = torch.randn(2, 3, 28, 28)
    ids = torch.tensor([[59] * QUERIES + [3]] * 2)
    blip2(pixel_values=pixels, input_ids=ids)
    states = blip2.vision_model(pixels).last_hidden_state

    config = qformer.Config(queries=QUERIES, hidden=HIDDEN, heads=4, layers=3, norm="none")
    model = config.build(D, nn.Embedding(60, H)).eval()
    model.queries.qformer.load_state_dict(blip2.qformer.state_dict())
    model.linear.load_state_dict(blip2.language_projection.state_dict())
    model.queries.query.copy_(blip2.query_tokens)
    n = states.shape[1]
    tokens, lengths = model(states, torch.tensor([n, n]))
    torch.testing.assert_close(tokens, seen[0], rtol=0, atol=1e-5)
    assert lengths.tolist() == [QUERIES] * 2
    padded = torch.cat([states, torch.full((2, 9, D), float("nan"))], 1)
    tokens, _ = model(padded, torch.tensor([n, n]))
    torch.testing.assert_close(tokens, seen[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"queries": 0}, {"hidden": 20, "heads": 3}, {"cross_every": 0}, {"norm": "batch"}]
)
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        qformer.Config(**wrong)
