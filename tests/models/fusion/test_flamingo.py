"""Flamingo's cross-attention: a loop over layers, gates at zero, beams, the cache, packed rows."""

import pytest
import torch
from torch import nn

from speechllm import config
from speechllm.models.fusion.flamingo import Config
from speechllm.models.llm import Config as LLMConfig
from speechllm.models.tiny import wake

H, V, D = 32, 60, 12
LLAMA = {"model_type": "llama", "hidden_size": H, "intermediate_size": 48,
         "num_hidden_layers": 4, "num_attention_heads": 4}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": H, "n_layer": 4, "n_head": 4, "n_positions": 64}
SLOTS = torch.tensor([[1, 2, 5], [0, 1, 3], [1, 6, 4]])


def made(settings=LLAMA, **options):
    torch.manual_seed(0)
    llm = config.fill(LLMConfig, {"config": settings}, "test").build(V).eval()
    fusion = Config(**{"every": 2, "width": D, "head_norm": True, **options}).build()
    fusion.attach(llm)
    return llm, fusion.eval()


def plain(llm, fusion, embeddings, tokens):
    """Each row and position by itself: the block's own attention over the medium it sees."""
    x = embeddings
    turns = llm.model.rotary_emb(x, torch.arange(x.shape[1])[None])
    mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)[None, None]
    sees = [[None] + [1] * 9, [None] * 2 + [0] * 4 + [2] * 4]
    for number, layer in enumerate(llm.model.layers):
        if number % 2 == 0:
            own = fusion.layers[number // 2]
            rows = []
            for row in range(2):
                for column in range(10):
                    one, medium = x[row : row + 1, column : column + 1], sees[row][column]
                    seen = tokens[medium or 0][None, : SLOTS[medium or 0, 2]]
                    gate = torch.tensor([[float(medium is not None)]])
                    rows.append(own(one, None, seen, None, gate))
            x = torch.cat(rows).view(2, 10, -1)
        x = layer.forward(x, attention_mask=mask, position_embeddings=turns)  # without our hook
    return llm.lm_head(llm.model.norm(x))


@torch.no_grad()
def test_against_transformers_block_position_by_position():
    llm, fusion = made()
    wake(fusion)
    embeddings, tokens = torch.randn(2, 10, H), torch.randn(3, 5, D)
    joined = fusion.join(embeddings, tokens, SLOTS)
    assert joined is embeddings, "where a medium stands the LLM reads its placeholder"
    ours = llm(inputs_embeds=joined).logits
    torch.testing.assert_close(ours, plain(llm, fusion, embeddings, tokens), atol=1e-5, rtol=0)
    assert fusion._media.kept.layers.keys() == {0, 1}
    beams = llm(inputs_embeds=joined.repeat_interleave(2, 0)).logits
    torch.testing.assert_close(beams[::2], ours, atol=1e-5, rtol=0)
    torch.testing.assert_close(beams[1::2], ours, atol=1e-5, rtol=0)
    fusion.keep(torch.tensor([1]))
    torch.testing.assert_close(llm(inputs_embeds=joined[1:]).logits, ours[1:], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("settings", [LLAMA, GPT2])
def test_gates_at_zero_change_nothing(settings):
    llm, fusion = made(settings, width=0, gate="vector")
    embeddings = torch.randn(2, 10, H)
    fusion.join(embeddings, torch.randn(3, 5, H), SLOTS)
    before = llm(inputs_embeds=embeddings).logits
    wake(fusion)
    assert not torch.equal(llm(inputs_embeds=embeddings).logits, before)
    for block in fusion.layers:
        nn.init.zeros_(block.alpha_dense)
    text = fusion.join(embeddings, torch.randn(0, 5, H), SLOTS[:0])
    assert torch.equal(llm(inputs_embeds=text).logits, before), "text alone sees nothing"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="every = 3, but the LLM has 4 layers"):
        made(every=3)
    with pytest.raises(ValueError, match="gate must be one of float, vector"):
        Config(gate="matrix")
    llm, fusion = made()
    with pytest.raises(ValueError, match="attached to an LLM already"):
        fusion.attach(llm)
