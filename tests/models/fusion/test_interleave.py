"""Interleaving against a loop that writes each soft token by hand."""

import pytest
import torch

from speechllm.models.fusion.interleave import Config


def by_hand(embeddings, tokens, slots):
    """Place token after token: the slow reference."""
    out = embeddings.clone()
    for m, (row, start, count) in enumerate(slots.tolist()):
        for k in range(count):
            out[row, start + k] = tokens[m, k]
    return out


def test_equals_the_loop_and_passes_gradients():
    """Several media in a row, none in another, different counts; only used tokens learn."""
    fusion = Config().build()
    fusion.attach(None)
    embeddings = torch.randn(3, 12, 4, requires_grad=True)
    tokens = torch.randn(3, 5, 4, requires_grad=True)
    slots = torch.tensor([[0, 1, 3], [0, 6, 5], [2, 0, 1]])
    joined = fusion.join(embeddings, tokens, slots)
    assert torch.equal(joined, by_hand(embeddings, tokens, slots))
    joined.sum().backward()
    assert tokens.grad.sum(2).bool().tolist() == [
        [True] * 3 + [False] * 2,
        [True] * 5,
        [True] + [False] * 4,
    ]
    replaced = (embeddings.grad == 0).all(2)
    assert replaced.nonzero().tolist() == [[0, i] for i in (1, 2, 3, 6, 7, 8, 9, 10)] + [[2, 0]]


def test_nothing_to_join():
    """No media: the text as it was; the input itself is never changed."""
    embeddings = torch.randn(2, 4, 3)
    before = embeddings.clone()
    none = torch.zeros(0, 3, dtype=torch.long)
    assert torch.equal(Config().build().join(embeddings, torch.zeros(0, 2, 3), none), before)
    Config().build().join(embeddings, torch.ones(1, 2, 3), torch.tensor([[0, 0, 2]]))
    assert torch.equal(embeddings, before)


def test_soft_tokens_take_the_precision_of_the_text():
    """A bfloat16 LLM gets bfloat16."""
    text = torch.zeros(1, 4, 3, dtype=torch.bfloat16)
    joined = Config().build().join(text, torch.ones(1, 2, 3), torch.tensor([[0, 1, 2]]))
    assert joined.dtype == torch.bfloat16 and joined.sum() == 6


@pytest.mark.parametrize(
    "slots,message",
    [([[0, 0, 3]], "for 3 soft tokens, but there are 2"), ([], "0 slots in the text for 1")],
)
def test_errors(slots, message):
    """A slot longer than its media, media without slot."""
    slots = torch.tensor(slots, dtype=torch.long).reshape(-1, 3)
    with pytest.raises(ValueError, match=message):
        Config().build().join(torch.zeros(1, 4, 3), torch.ones(1, 2, 3), slots)
