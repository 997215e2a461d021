"""Learning rates by hand, and which parameters decay or go to Muon."""

import math

import pytest
import torch
from torch import nn

from speechllm.train import optim
from speechllm.train.phases import Phase


def phase(**settings):
    plain = {"name": "x", "train": ("*",), "objectives": {"ctc": {}}, "steps": 10, "lr": 0.1}
    return Phase(**{**plain, **settings})


def rates(**settings):
    made = phase(**settings)
    return [optim.learning_rate(made, step) for step in range(made.steps)]


def test_warm_up_begins_above_zero_and_ends_at_the_highest_rate():
    assert rates(warmup_steps=4, schedule="constant") == pytest.approx(
        [0.025, 0.05, 0.075, 0.1] + [0.1] * 6
    )


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_schedules_end_at_the_final_ratio(final):
    """The step after the last one would have it; half-way stands half-way between the two."""
    for schedule in ("cosine", "linear"):
        made = phase(warmup_steps=2, schedule=schedule, final_lr_ratio=final)
        assert optim.learning_rate(made, 2) == pytest.approx(0.1)
        assert optim.learning_rate(made, 6) == pytest.approx(0.1 * (1 + final) / 2)
        assert optim.learning_rate(made, 10) == pytest.approx(0.1 * final)
    cosine = phase(schedule="cosine", final_lr_ratio=final)
    shape = (1 + math.cos(0.1 * math.pi)) / 2
    assert optim.learning_rate(cosine, 1) == pytest.approx(0.1 * (final + (1 - final) * shape))


PARAMETERS = {
    "llm.embed_tokens.weight": (6, 4),
    "llm.q_proj.weight": (4, 4),
    "llm.q_proj.lora_A.default.weight": (2, 4),
    "llm.lm_head.weight": (6, 4),
    "encoder.conv.weight": (4, 3, 3),
    "encoder.norm.weight": (4,),
    "encoder.linear.bias": (4,),
    "heads.ctc.head.weight": (6, 4),
}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_matrices_decay_and_vectors_do_not(optimizer):
    """A step with a gradient of zeros takes lr x weight_decay off, and nothing else."""
    learning = {name: nn.Parameter(torch.ones(shape)) for name, shape in PARAMETERS.items()}
    made = optim.make(phase(optimizer=optimizer, weight_decay=0.5), learning)
    for parameter in learning.values():
        parameter.grad = torch.zeros_like(parameter)
    made.step(0.1)
    for name, parameter in learning.items():
        wanted = 1.0 if parameter.ndim == 1 else 0.95
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, wanted), msg=name)
        assert parameter.grad is None


def test_muon_has_the_matrices_between_hidden_layers_alone():
    learning = {name: nn.Parameter(torch.ones(shape)) for name, shape in PARAMETERS.items()}
    made = optim.make(phase(optimizer="muon"), learning)
    kinds = {name: type(made.of(parameter)).__name__ for name, parameter in learning.items()}
    assert [name for name, kind in kinds.items() if kind == "Muon"] == ["llm.q_proj.weight"]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_state_put_back_goes_on_to_the_bit(optimizer):
    def begin():
        torch.manual_seed(0)
        learning = {name: nn.Parameter(torch.randn(shape)) for name, shape in PARAMETERS.items()}
        return learning, optim.make(phase(optimizer=optimizer), learning)

    def go(learning, made, steps):
        for number in steps:
            torch.manual_seed(number)
            for parameter in learning.values():
                parameter.grad = torch.randn(parameter.shape)
            made.step(0.1)

    whole, one = begin()
    go(whole, one, [1, 2, 3])
    parts, two = begin()
    go(parts, two, [1, 2])
    kept = {key: value.clone() for key, value in optim.state(two).items()}
    again, three = begin()
    for name, parameter in again.items():
        parameter.data.copy_(parts[name].data)
    optim.restore(three, kept, lambda value, like: value.clone())
    go(again, three, [3])
    assert all(torch.equal(whole[name], again[name]) for name in whole)
