"""The posterior adapter against the plain way: best path, one token after the other, in a loop."""

import pytest
import torch
from torch import nn

from speechllm.models.adapters import ctc_posterior

V, H, BLANK = 5, 6, 5


def spelling(path, sure: float = 40.0, **options):
    """Make an adapter whose head copies the states, and states that spell `path`."""
    model = ctc_posterior.Config(**options).build(V + 1, nn.Embedding(V, H))
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(V + 1))
        model.head.bias.zero_()
    return model, nn.functional.one_hot(torch.tensor(path), V + 1).float() * sure


@torch.no_grad()
@pytest.mark.parametrize(
    "path,wanted",
    [
        ([5, 1, 1, 5, 1, 2, 2, 5], [1, 1, 2]),
        ([3, 3, 3], [3]),
        ([0, 1, 0], [0, 1, 0]),
        ([4, 5, 5, 4], [4, 4]),
    ],
)
def test_sure_posteriors_spell(path, wanted):
    """Blank dropped, repeats merged: soft tokens are the embeddings of what CTC reads."""
    model, states = spelling(path)
    tokens, lengths = model(states[None], torch.tensor([len(path)]))
    assert lengths.tolist() == [len(wanted)]
    (embedding,) = model._embedding
    torch.testing.assert_close(tokens[0], embedding(torch.tensor(wanted)))


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("merge", [True, False])
def test_against_a_loop(threshold, merge):
    """Unsure posteriors, several lengths: means weighted by all that is not blank."""
    torch.manual_seed(0)
    embedding = nn.Embedding(V, H)
    model = ctc_posterior.Config(blank_threshold=threshold, merge=merge).build(8, embedding)
    states, lengths = torch.randn(3, 30, 8) * 6, torch.tensor([30, 17, 2])
    tokens, counts = model(states, lengths)
    for row, n in enumerate(lengths.tolist()):
        wanted = plain(model.head(states[row, :n]).softmax(-1), embedding.weight, threshold, merge)
        assert counts[row] == len(wanted)
        torch.testing.assert_close(tokens[row, : len(wanted)], torch.stack(wanted))


def plain(posteriors, table, threshold, merge):
    """The definition, step by step."""
    if posteriors[:, -1].min() >= threshold:
        posteriors = posteriors[posteriors[:, -1].argmin()][None]
        threshold = 2.0
    groups, last = [], None
    for p in posteriors:
        if p[-1] >= threshold:
            last = None
            continue
        best = int(p[:-1].argmax())
        if merge and best == last:
            groups[-1].append(p[:-1])
        else:
            groups.append([p[:-1]])
        last = best
    return [(sum(g) @ table) / sum(g).sum() for g in groups]


def test_the_llm_keeps_its_embeddings():
    """They are no parameter of the adapter: they are neither saved nor trained with it."""
    model, states = spelling([1, 2])
    assert {name for name, _ in model.named_parameters()} == {"head.weight", "head.bias"}
    moved, _ = model(states[None], torch.tensor([2]))
    (embedding,) = model._embedding
    with torch.no_grad():
        embedding.weight.mul_(2)  # the text phase trains them: the adapter sees it
    torch.testing.assert_close(model(states[None], torch.tensor([2]))[0], moved * 2)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5])
def test_bad_threshold(threshold):
    """A threshold is a probability."""
    with pytest.raises(ValueError, match="blank_threshold"):
        ctc_posterior.Config(blank_threshold=threshold)


@torch.no_grad()
def test_letters_are_the_llms_own_tokens_and_padding_is_not_seen():
    """Each letter's posterior weighs the embedding of the token that is this letter alone."""
    torch.manual_seed(0)
    embedding = nn.Embedding(9, H)
    model = ctc_posterior.Config(letters=" ba", convs=2, kernel=4).build(8, embedding)

    class Tokenizer:
        unk_token_id = 0

        def get_vocab(self):
            return {"▁": 7, "a": 3, "▁a": 4}

        def __call__(self, text, **_):
            return {"input_ids": [1, 5] if text == "b" else [0]}

    model.spell(Tokenizer())
    assert model.units.tolist() == [7, 5, 3]
    states, lengths = torch.randn(2, 30, 8) * 6, torch.tensor([30, 17])
    tokens, counts = model(states, lengths)
    for row, n in enumerate(lengths.tolist()):
        logits = model.ctc_logits(states[row : row + 1, :n], lengths[row : row + 1])[0]
        wanted = plain(logits.softmax(-1), embedding.weight[[7, 5, 3]], 0.5, True)
        assert counts[row] == len(wanted)
        torch.testing.assert_close(tokens[row, : len(wanted)], torch.stack(wanted))
    with pytest.raises(ValueError, match="letters: the LLM's tokenizer has no token for 'z'"):
        ctc_posterior.Config(letters="az").build(8, embedding).spell(Tokenizer())
    with pytest.raises(ValueError, match="letters: wanted each once, got 'aba'"):
        ctc_posterior.Config(letters="aba")


@pytest.mark.parametrize("how", [{}, {"convs": 1, "kernel": 3}])
def test_reading_dropout_misspells_in_training_alone(how):
    """The LLM then reads mistakes; the head that learns by CTC, and evaluation, see none."""
    torch.manual_seed(0)
    options = {"letters": " abc", "reading_dropout": 0.5, **how}
    model = ctc_posterior.Config(**options).build(8, nn.Embedding(V, H))
    states, lengths = torch.randn(2, 30, 8) * 6, torch.tensor([30, 17])
    model.train()
    model.head.eval()  # it learns no more: its own dropout is off
    logits = model.ctc_logits(states, lengths)
    torch.testing.assert_close(logits, model.ctc_logits(states, lengths))
    read = [model(states, lengths)[0] for _ in range(2)]
    assert read[0].shape != read[1].shape or not torch.allclose(*read)
    model.eval()
    torch.testing.assert_close(model(states, lengths)[0], model(states, lengths)[0])
