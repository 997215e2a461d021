"""The plan against what is counted and measured: FLOPs by torch's counter, bytes by the tensors."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from speechllm import cli, config
from speechllm.cli.plan import GPUS
from speechllm.models import anatomy, tiny
from speechllm.train import memory, optim, plan


@pytest.mark.parametrize("name", ["slam_asr_wavlm", "librispeech_small", "mini"])
def test_flops_are_those_that_torch_counts(name):
    """Of a step at small size, forward and back, each phase."""
    system = tiny.system(config.load(name))
    for phase, learner in memory.each_phase(system, system.build()):
        batch = memory.batch_of(system, phase, 2, 8.0)
        counted = sum(plan.count(learner, learner, phase, batch).values())
        # the counter does not know the fused attention of CPUs
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            sum(memory.losses(learner, phase, batch)).backward()
        assert counted == pytest.approx(counter.get_total_flops(), rel=0.1), phase.name


def test_bytes_are_those_of_the_tensors(make_run, tmp_path):
    """Weights, gradients and moments of each phase; a quarter of them where four share."""
    system = make_run(tmp_path).system
    for phase, learner in memory.each_phase(system, system.build()):
        need = plan.outlook(system, phase, learner, learner, 4, 1.0).needs
        batch = memory.batch_of(system, phase, 2, 1.0)
        sum(memory.losses(learner, phase, batch)).backward()
        learning = {n: p for n, p in learner.named().items() if p.requires_grad}
        gradients = sum(4 * p.numel() for p in learning.values() if p.grad is not None)
        optimizer = optim.make(replace(phase, optimizer="adamw"), learning)
        optimizer.step(1e-3)
        moments = sum(t.nbytes for t in optim.state(optimizer).values())
        weights = sum(t.nbytes for t in (*learner.parameters(), *learner.buffers()))
        for wanted, found in ((weights, need["ddp"].weights), (gradients, need["ddp"].gradients),
                              (moments, need["ddp"].optimizer)):  # fmt: skip
            assert found == pytest.approx(wanted, rel=0.1)
        quarter = (need["ddp"].weights + need["ddp"].optimizer) / 4
        assert need["fsdp"].weights + need["fsdp"].optimizer == pytest.approx(quarter, rel=1e-3)


def test_an_llm_that_learns_takes_six_flops_a_weight_and_token():
    """6 N D, the count that everybody states, where lengths are short."""
    preset = config.load("qwen2_audio")
    small = tiny.system(preset)
    pairs = zip(memory.each_phase(small, small.build()),
                memory.each_phase(*anatomy.outline(preset)), strict=True)  # fmt: skip
    phase, (little, large) = next(
        (one, (a, b)) for (one, a), (_, b) in pairs if "llm.*" in one.train
    )
    batch = memory.batch_of(small, phase, 1, 4.0)
    flops = plan.count(little, large, phase, batch)["llm"]
    weights = sum(p.numel() for n, p in large.model.llm.named_parameters() if "embed" not in n)
    assert weights > 6e9
    assert flops == pytest.approx(6 * weights * batch.ids.numel(), rel=0.1)


TINY_LLAMA = (
    'model_type="llama",vocab_size=32000,hidden_size=2048,intermediate_size=5632,'
    "num_hidden_layers=22,num_attention_heads=32,num_key_value_heads=4"
)
LLAMA_7B = (
    'model_type="llama",vocab_size=32000,hidden_size=4096,intermediate_size=11008,'
    "num_hidden_layers=32,num_attention_heads=32,num_key_value_heads=32"
)
SLAM = (  # Qwen2.5 0.5B over 500 units of speech: 358 M parameters
    'model_type="qwen2",vocab_size=502,hidden_size=896,intermediate_size=4864,'
    "num_hidden_layers=24,num_attention_heads=14,num_key_value_heads=2"
)


@pytest.mark.parametrize(
    ("shape", "length", "tokens", "gpu_hours", "gpu", "mfu"),
    [
        # its README: 24 thousand tokens a second and A100, an MFU of 56 %
        (TINY_LLAMA, 2048, 24_000 * 3600, 1, "a100", 0.56),
        # arXiv 2302.13971, tables 2 and 15: 1.0 T tokens, no MFU; at 0.47 its 65B is as near
        (LLAMA_7B, 2048, 1e12, 82_432, "a100", 0.47),
        # arXiv 2502.15814, README of slp-rl/slamkit: 1.4 B tokens in 17,625 steps of 128, a day of
        # one A5000; no MFU is said: it is the command's own
        (SLAM, 620, 1.4e9, 24, "a5000", 0.35),
        # the same and the card of slprl/slam: 16.7 B tokens, two days of two A100
        (SLAM, 620, 16.7e9, 96, "a100", 0.35),
    ],
    ids=["TinyLlama", "LLaMA 7B", "Slam", "Slam scaled"],
)
def test_published_runs_take_the_gpu_hours_they_took(shape, length, tokens, gpu_hours, gpu, mfu):
    """Of LLMs, and of a speech LM on one and on two GPUs; by a preset that learns from text."""
    preset = config.changed(config.load("mini"), [f"llm.config={{{shape}}}"])
    small = tiny.system(preset)
    pairs = zip(memory.each_phase(small, small.build()),
                memory.each_phase(*anatomy.outline(preset)), strict=True)  # fmt: skip
    phase, (little, large) = next((one, (a, b)) for (one, a), (_, b) in pairs if one.name == "text")
    batch = memory.batch_of(small, phase, 1, length / 6)
    assert batch.ids.numel() == pytest.approx(length, rel=0.03)
    flops = plan.count(little, large, phase, batch)["llm"] / batch.ids.numel() * tokens
    hours = flops / (GPUS[gpu][1] * 1e12 * mfu) / 3600
    print(f"{hours:.0f} GPU hours for {gpu_hours}: {hours / gpu_hours:.3f}")
    assert hours == pytest.approx(gpu_hours, rel=0.1)


def test_the_command_says_what_fits(capsys):
    words = ["plan", "qwen2_audio", "--gpus", "64", "--gpu", "h200", "--hours", "100000",
             "--price", "2.5"]  # fmt: skip
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "--parallel ddp" in said or "--parallel fsdp" in said
    assert "GPU hours" in said and "at 2.5 a GPU and hour" in said
    assert cli.main([*words, "--mfu", "1.5"]) == 2
    assert "--mfu: wanted a share, at most 1, got 1.5" in capsys.readouterr().err
    assert torch.get_default_dtype() == torch.float32
