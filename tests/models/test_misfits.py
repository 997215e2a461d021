"""Presets whose parts do not fit: each is refused before any step, and says what to do."""

import pytest

from speechllm import config
from speechllm.models import tiny
from speechllm.train import memory

MISFITS = {
    "mel for a wave encoder": (
        "slam_asr_wavlm", "frontend={name='kaldi_fbank80'}",
        r"slam_asr_wavlm.toml \[encoder\], front end 'kaldi_fbank80': the WavLM encoder wants raw "
        r"samples \(front end wave16k\), got a front end of dimension 80",
    ),
    "a wave for a mel encoder": (
        "slam_asr_whisper", "frontend={name='wave16k'}",
        "wants 128 mel bands .front end whisper128",
    ),
    "too few bands": (
        "slam_asr_whisper", "frontend.name=whisper80", "wants 128 mel bands .front end whisper128",
    ),
    "no window": (
        "slam_asr_whisper", "frontend.pad_to_s=0.0",
        "wants 3000 frames of each utterance, the front end gives 100 for one of 1 s: set its "
        "pad_to_s = 30",
    ),
    "another rate": (
        "slam_asr_hubert", "frontend.sampling_rate=8000",
        "wants samples at 16000 Hz, the front end gives 8000: set its sampling_rate",
    ),
    "a branch's front end": (
        "salmonn", "frontend={name='whisper80'}", "'whisper' computes its features from the wave",
    ),
    "LoRA on nothing": (
        "slam_asr_wavlm", "llm.lora.targets=['q_prj']",
        r"\[llm.lora\] no layer is called 'q_prj'; did you mean 'q_proj'",
    ),
    "heads that do not divide": (
        "audio_flamingo", "tiny.fusion.heads=5", "heads that divide the LLM's width 32",
    ),
    "deeper than the LLM": (
        "audio_flamingo", "tiny.fusion.every=9", "every = 9, but the LLM has 2 layers",
    ),
    "no CTC head": (
        "slam_asr_wavlm", "stage.adapter.objectives={ctc={on='posterior'}}",
        "wants an adapter with a CTC head, ctc_posterior or ctc_compress",
    ),
    "a part that is not there": (
        "speechverse", "stage.align.train=['encoder.mixx.*']",
        "stage align: 'encoder.mixx.*' in train matches no parameter; did you mean 'encoder",
    ),
    "an objective that is not there": (
        "mini", "stage.text.objectives={language_modeling={}}", "did you mean 'language_modelling'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_refused_before_any_step(case):
    name, change, says = MISFITS[case]
    with pytest.raises(ValueError, match=says):
        system = tiny.system(config.load(name, [change]))
        for _ in memory.each_stage(system, system.build()):
            pass


@pytest.mark.parametrize("bad", ["{}{}", "no place", ""])
def test_a_chat_without_its_one_place(bad):
    from speechllm.data.chat import Builder

    system = tiny.system(config.load("mini", [f"chat.user='{bad}'"]))
    with pytest.raises(ValueError, match="user: wanted one {}"):
        Builder.of(system)


def test_more_media_than_lengths_and_slots_than_media():
    import torch

    from speechllm.data.chat import Builder
    from speechllm.models.fusion import _slots

    builder = Builder.of(tiny.system(config.load("mini")))
    audio = {"role": "user", "content": [{"type": "audio"}, {"type": "audio"}]}
    with pytest.raises(ValueError, match="2 media in the messages, but 1 counts given"):
        builder.build([audio], [3], answer=False)
    with pytest.raises(ValueError, match="2 slots in the text for 1 media"):
        _slots.check(torch.zeros(1, 4, 8), torch.zeros(2, 3, dtype=torch.long))
