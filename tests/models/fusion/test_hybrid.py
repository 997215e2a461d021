"""NVLM-H against a plain loop over layers: thumbnails among the text, tiles by cross-attention."""

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.models.fusion.hybrid import Config
from speechllm.models.llm import Config as LLMConfig

H, V = 32, 60
LLAMA = {"model_type": "llama", "hidden_size": H, "intermediate_size": 48,
         "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
SLOTS = torch.tensor([[1, 2, 7], [0, 1, 3], [1, 6, 3]])  # all soft tokens: 7 are 4 and a thumbnail


@pytest.fixture
def llm():
    torch.manual_seed(0)
    return config.fill(LLMConfig, {"config": LLAMA}, "test").build(V).eval()


@pytest.fixture
def fusion(llm):
    torch.manual_seed(1)
    made = Config(every=2, thumbnail=3).build()
    made.attach(llm)
    for layer in made.layers:
        nn.init.constant_(layer.cross_attn_attn_gate, 1.0)
        nn.init.constant_(layer.cross_attn_mlp_gate, -0.7)
    return made.eval()


def plain(llm, fusion, embeddings, tokens):
    """What the LLM's layers make of it, in turn, with tiles seen by row 1 from its slot on."""
    x = embeddings.clone()
    x[1, 2:5], x[0, 1:4], x[1, 6:9] = tokens[0, 4:7], tokens[1, :3], tokens[2, :3]
    positions = torch.arange(x.shape[1])[None]
    turns = llm.model.rotary_emb(x, positions)
    mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)[None, None]
    own = iter(fusion.layers)
    for number, layer in enumerate(llm.model.layers):
        if number % 2:
            cross = next(own)
            x = x.clone()
            all_seen = torch.ones(1, 1, x.shape[1] - 2, 4, dtype=torch.bool)
            x[1:, 2:] = cross(x[1:, 2:], tokens[:1, :4], all_seen, None, None)
        x = layer(x, attention_mask=mask, position_embeddings=turns)
    return llm.lm_head(llm.model.norm(x))


@torch.no_grad()
def test_against_a_loop_over_layers(llm, fusion):
    embeddings, tokens = torch.randn(2, 10, H), torch.randn(3, 7, H)
    wanted_of = embeddings.clone()
    fusion.join(embeddings, tokens[:0], SLOTS[:0])
    wanted = plain(llm, fusion, wanted_of, tokens)
    joined = fusion.join(embeddings, tokens, SLOTS)
    torch.testing.assert_close(llm(inputs_embeds=joined).logits, wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_picture_that_is_one_tile_is_read_among_the_text_alone(llm, fusion):
    embeddings, tokens = torch.randn(1, 6, H), torch.randn(1, 3, H)
    joined = fusion.join(embeddings, tokens, torch.tensor([[0, 2, 3]]))
    assert torch.equal(joined[0, 2:5], tokens[0]) and fusion._media is None


def test_counts():
    made = Config(thumbnail=3)
    assert [made.count(n) for n in (0, 1, 3, 4, 70)] == [0, 1, 3, 3, 3]
    assert made.count(torch.tensor([2, 9])).tolist() == [2, 3]
