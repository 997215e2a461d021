"""CTC compression against the plain way: the best path, run after run, in a loop."""

from itertools import groupby

import pytest
import torch
from torch import nn

from speechllm.models.adapters import ctc_compress

V, H, D = 3, 6, 8
BLANK = V


def plain(model, states, blank, repeats):
    """Compress one utterance (L, D), run after run."""
    posteriors = model.head(states).softmax(-1)
    path = posteriors.argmax(-1).tolist()
    runs = [list(run) for _, run in groupby(range(len(path)), key=lambda t: path[t])]
    if blank == "drop":
        spoken = [run for run in runs if path[run[0]] != BLANK]
        runs = spoken or [[int(posteriors[:, BLANK].argmin())]]
    means = []
    for run in runs:
        x, weights = states[run], posteriors[run, path[run[0]]]
        if repeats == "drop":
            means.append(x[0])
        elif repeats == "average":
            means.append(x.mean(0))
        else:
            means.append((x * weights[:, None]).sum(0) / weights.sum())
    return model.norm(model.linear(torch.stack(means)))


@pytest.mark.parametrize("blank", ["drop", "average"])
@pytest.mark.parametrize("repeats", ["average", "weighted", "drop"])
@torch.no_grad()
def test_against_a_loop(blank, repeats):
    """Runs of several steps, several lengths, one row that is blank all through."""
    torch.manual_seed(0)
    model = ctc_compress.Config(blank=blank, repeats=repeats).build(D, nn.Embedding(V, H)).eval()
    states = torch.randn(4, 10, D).repeat_interleave(3, 1) * 3
    states = states + torch.randn(4, 30, D) * 0.3
    states[3] = model.head.weight[BLANK] * 50 + torch.randn(30, D)  # spells blanks alone
    lengths = torch.tensor([30, 17, 2, 12])
    tokens, counts = model(states, lengths)
    fewer = 0
    for row, n in enumerate(lengths.tolist()):
        wanted = plain(model, states[row, :n], blank, repeats)
        assert counts[row] == len(wanted), row
        torch.testing.assert_close(tokens[row, : len(wanted)], wanted, rtol=0, atol=1e-5)
        fewer += n - len(wanted)
    assert fewer > 20 and counts[3] == 1


@pytest.mark.parametrize("repeats", ["average", "weighted", "drop"])
def test_what_the_head_learns_from(repeats):
    """From the tokens only where they are weighted by its posteriors; from CTC always."""
    torch.manual_seed(0)
    model = ctc_compress.Config(repeats=repeats).build(D, nn.Embedding(V, H))
    states, lengths = torch.randn(2, 40, D), torch.tensor([40, 40])
    tokens, _ = model(states, lengths)
    (tokens * torch.randn(tokens.shape)).sum().backward()
    learned = model.head.weight.grad is not None and bool(model.head.weight.grad.any())
    assert learned == (repeats == "weighted")
    model.ctc_logits(states, None).square().sum().backward()
    assert model.head.weight.grad.any() and model.head.bias.grad.any()


@pytest.mark.parametrize("wrong", [{"blank": "keep"}, {"repeats": "merge"}, {"norm": "batch"}])
def test_errors(wrong):
    """Settings that mean nothing are refused, by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ctc_compress.Config(**wrong)
