"""What a stage lets learn, which parts are in training mode, and which heads are kept."""

from dataclasses import replace

import pytest
import torch

from speechllm.train.stages import Learner, Stage, stages


@pytest.fixture
def learner(make_run, tmp_path):
    """The tiny system, with dropout, and its two stages."""
    run = make_run(tmp_path, "encoder.dropout=0.1", "llm.lora.dropout=0.1")
    return Learner(run.system.build()), stages(run.system.preset)


def active(learner):
    """Parts of which any module is in training mode."""
    parts = [
        (n, p) for n, p in learner.model.named_children() if next(p.parameters(), None) is not None
    ]
    return {name for name, part in parts if any(module.training for module in part.modules())}


def test_training_mode_is_where_something_learns_alone(learner):
    """Dropout of what is frozen would only be noise; a LoRA's own is without parameters."""
    learner, (first, second) = learner
    assert first.train == ("encoder.*",), "the tiny preset's first stage"
    learning = learner.begin(first, "test", [["encoder.*"]])
    assert {name.split(".")[0] for name in learning} == {"encoder", "heads"}
    assert active(learner) == {"encoder", "heads"}
    learner.begin(second, "test", [["encoder.*"], list(second.train)])
    drops = [m for m in learner.model.llm.modules() if isinstance(m, torch.nn.Dropout)]
    for _ in range(2):
        assert active(learner) == {"adapter", "heads", "llm"}
        assert drops and all(module.training for module in drops)
        assert not learner.model.llm.lm_head.training
        learner.eval()
        assert not active(learner)
        learner.set_modes()


def test_a_head_that_was_trained_goes_on_where_it_fits(learner):
    learner, (first, _) = learner
    learner.begin(first, "test", [["encoder.*"]])
    kept = learner.model.heads["ctc"].head.weight.detach().clone()
    learner.begin(replace(first, name="again"), "test", [["encoder.*"]] * 2)
    assert torch.equal(learner.model.heads["ctc"].head.weight, kept)
    learner.begin(replace(first, objectives={"ctc": {"on": "adapter"}}), "test", [["encoder.*"]])
    assert learner.model.heads["ctc"].head.weight.shape != kept.shape


def test_weights_are_those_of_the_objectives_settings():
    made = Stage("x", ("*",), {"ctc": {}, "language_modelling": {"weight": 0.25}}, 1, 0.1)
    assert made.weights == {"ctc": 1.0, "language_modelling": 0.25}
