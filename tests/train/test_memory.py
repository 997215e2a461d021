"""The memory estimate against what is measured: every live byte of a real pass of small models."""

from dataclasses import replace

import pytest
import torch

from speechllm import config
from speechllm.decode import search
from speechllm.models import anatomy, tiny
from speechllm.models.footprint import Live
from speechllm.train import memory, optim, pretend
from speechllm.train.phases import phases

FACTOR = 2.0  # of what is estimated layer by layer: decoding, and adapters that drop what is blank


def within(estimate, measured, factor=FACTOR):
    return 1 / factor < measured / estimate < factor


@pytest.mark.parametrize("name", config.presets())
def test_training(name, monkeypatch):
    """The peak of a pass, weights and gradients apart: to a tenth where it is counted.

    And what the optimiser then keeps.
    """
    counted = []
    count = pretend.peak
    monkeypatch.setattr(pretend, "peak", lambda *args: counted.append(count(*args)) or counted[-1])
    system = tiny.system(config.load(name))
    for phase, learner in memory.each_phase(system, system.build()):
        batch = memory.batch_of(system, phase, 2, 6.0)
        counted[:] = [None]
        estimate = memory.training(learner, learner, phase, batch, bf16=False)
        drops = any("ctc" in type(b.adapter).__module__ for b in learner.model.branches.values())
        assert counted[-1] or drops or "preference" in phase.objectives, phase.name
        for parameter in learner.parameters():  # as in any step but the first
            parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
        with Live() as live:
            loss = sum(memory.losses(learner, phase, batch))
            if not loss.requires_grad:
                continue  # of another medium than the batch's, which is not estimated
            loss.backward()
        factor = FACTOR if counted[-1] is None else 1.1
        assert within(estimate.activations, live.peak, factor), phase.name
        learning = {n: p for n, p in learner.named().items() if p.requires_grad}
        for parameter in learning.values():  # one batch does not reach what another one will
            parameter.grad = torch.zeros_like(parameter)
        optimizer = optim.make(replace(phase, optimizer="adamw"), learning)
        optimizer.step(1e-3)
        kept = sum(t.nbytes for t in optim.state(optimizer).values())
        assert kept == pytest.approx(estimate.optimizer, rel=0.05), phase.name
        for parameter in learner.parameters():
            parameter.grad = None


@pytest.mark.parametrize("name", ["slam_asr_whisper", "salmonn", "audio_flamingo"])
@torch.no_grad()
def test_decoding(name):
    """The peak of generating as many tokens as the batch's answers have."""
    system = tiny.system(config.load(name))
    model = system.build().eval()
    phase = replace(phases(system.preset)[0], task=None)
    batch = memory.batch_of(system, phase, 2, 10.0)
    estimate = memory.decoding(model, model, batch, bf16=False)
    with Live() as live:
        search.answers(model(batch), [30, 30], (2,), 0, search.Config(max_repeats=0))
    assert within(estimate.activations + estimate.cache, live.peak)
    assert estimate.weights == sum(t.nbytes for t in (*model.parameters(), *model.buffers()))


def test_a_wider_llm_and_a_bigger_batch_cost_as_much_more():
    """Twice the rows are twice the activations; the real LLM is counted from its shape alone."""
    preset = config.load("slam_asr_whisper")
    system, whole = tiny.system(preset), anatomy.outline(preset)
    phase, large = next(memory.each_phase(*whole))
    _, small = next(memory.each_phase(system, system.build()))
    found = [
        memory.training(small, large, phase, memory.batch_of(system, phase, rows, 2.0), bf16=True)
        for rows in (1, 2)
    ]
    assert 1.5 < found[1].activations / found[0].activations < 2.01
    adapter = sum(p.numel() for p in whole[1].adapter.parameters())
    assert found[0].gradients == 4 * adapter and found[0].optimizer == 8 * adapter
    assert found[0].weights == pytest.approx(2 * 6.738e9 + 4 * 637e6 + 4 * adapter, rel=0.01)
