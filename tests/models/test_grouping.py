"""Groups of similar length: what they save, and that nothing changes."""

import random

import pytest
import torch

from speechllm.models import grouping


def test_groups_save_padding_and_are_few():
    rng = random.Random(0)
    for _ in range(100):
        lengths = [rng.randint(20, 3000) for _ in range(rng.randint(1, 40))]
        made = grouping.groups(lengths)
        assert sorted(i for group in made for i in group) == list(range(len(lengths)))
        assert len(made) <= 1 / grouping.WORTH
        cells = sum(len(group) * max(lengths[i] for i in group) for group in made)
        assert cells <= len(lengths) * max(lengths)
    assert grouping.groups([100] * 8) == [list(range(8))]
    assert grouping.groups([100, 10, 100, 10]) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("encoder", [[], ["encoder.conv_norm='batch'"]])
def test_states_and_gradients_are_those_of_the_whole_batch(make_run, tmp_path, encoder):
    run = make_run(tmp_path, *encoder)
    encoder = run.system.encoder.build(run.system.extractor.dim)
    lengths = torch.tensor([40, 160, 90, 33, 158])
    x = torch.randn(5, 160, 20)
    assert len(grouping.groups(lengths.tolist())) > 1
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    for training in (False, True):
        encoder.train(training)
        torch.manual_seed(0)
        states, n = grouping.encode(encoder, x, lengths)
        if training:
            break
        wanted, steps = encoder(x, lengths)
        assert torch.equal(n, steps)
        for i, size in enumerate(n.tolist()):
            torch.testing.assert_close(states[i, :size], wanted[i, :size], atol=1e-5, rtol=1e-5)
    batchnorm = "batch" in str(run.system.preset.table("encoder").get("conv_norm", ""))
    assert len(calls) == (5 if batchnorm else 7), "BatchNorm in training sees the whole batch"
