"""The conformer: normalisation of its input, independence of the batch while it learns, errors."""

import pytest
import torch

from speechllm.models.encoders.conformer import Config, normalize_utterance

SMALL = {"dim": 32, "layers": 2, "heads": 2, "subsampling_channels": 8, "dropout": 0.0}


def test_normalisation_is_over_valid_frames():
    """Mean 0 and variance 1 of each feature over the utterance, zeros in the padding."""
    x = torch.randn(2, 50, 8) * 7 + 3
    x[1, 20:] = 0
    y = normalize_utterance(x, torch.tensor([50, 20]))
    for row, n in enumerate((50, 20)):
        valid = y[row, :n]
        torch.testing.assert_close(valid.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(valid.var(0, unbiased=False), torch.ones(8), atol=1e-3, rtol=0)
        assert not y[row, n:].any()
    one = normalize_utterance(torch.ones(1, 1, 8), torch.tensor([1]))
    assert not one.any()  # a single frame has no variance; it must not become infinite


@torch.no_grad()
def test_gain_and_channel_do_not_matter():
    """A constant added to log-mel (gain, microphone) changes nothing."""
    model = Config(**SMALL).build(80).eval()
    x, n = torch.randn(1, 60, 80), torch.tensor([60])
    moved = x + torch.randn(80)
    torch.testing.assert_close(model(x, n)[0], model(moved, n)[0], atol=1e-4, rtol=0)


def test_training_does_not_depend_on_the_batch():
    """The gradient of a batch is the sum of its rows': also over processes and micro-steps."""
    torch.manual_seed(0)
    model = Config(**SMALL).build(40).train()
    x, n = torch.randn(3, 64, 40), torch.tensor([64, 40, 17])
    noise = torch.randn(3, 16, 32)

    def gradients(rows):
        model.zero_grad()
        for part in rows:
            states, lengths = model(x[part], n[part])
            keep = torch.arange(states.shape[1]) < lengths[:, None]
            (states * noise[part, : states.shape[1]])[keep].sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    together, alone = gradients([slice(0, 3)]), gradients([slice(i, i + 1) for i in range(3)])
    assert (together - alone).abs().max() <= 1e-4 * together.abs().max()


def test_layers_start_alive():
    """Fresh states differ from step to step; a subsampling that starts near 0 would hide it."""
    torch.manual_seed(0)
    states, _ = Config().build(80).eval()(torch.randn(1, 200, 80), torch.tensor([200]))
    assert states.std(1).mean() > 0.25


@pytest.mark.parametrize(
    "wrong",
    [{"subsampling": 3}, {"dim": 30}, {"kernel": 4}, {"normalize": "all"}, {"conv_norm": "rms"}],
)
def test_errors(wrong):
    """Sizes that do not fit are refused before anything is built."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Config(**wrong)
