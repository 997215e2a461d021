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
    "features for a wave encoder, seen before any audio": (
        "slam_asr_hubert", "frontend={name='whisper80'}", "wants raw samples .front end wave16k",
    ),
    "heads that do not divide the LLM": (
        "slam_asr_wavlm", "tiny.llm.config.hidden_size=30",
        r"^\[llm\] config: The hidden size \(30\) is not a multiple of the number of attention",
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
        "slam_asr_wavlm", "phase.adapter.objectives={ctc={on='posterior'}}",
        "wants an adapter with a CTC head, ctc_posterior or ctc_compress",
    ),
    "a part that is not there": (
        "speechverse", "phase.align.train=['encoder.mixx.*']",
        "phase align: 'encoder.mixx.*' in train matches no parameter; did you mean 'encoder",
    ),
    "an objective that is not there": (
        "mini", "phase.text.objectives={language_modeling={}}", "did you mean 'language_modelling'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_refused_before_any_step(case):
    name, change, says = MISFITS[case]
    with pytest.raises(ValueError, match=says):
        system = tiny.system(config.load(name, [change]))
        for _ in memory.each_phase(system, system.build()):
            pass


@pytest.mark.parametrize("bad", ["{}{}", "no place", ""])
def test_a_chat_without_its_one_place(bad):
    from speechllm.data.chat import Builder

    system = tiny.system(config.load("mini", [f"chat.user='{bad}'"]))
    with pytest.raises(ValueError, match="user: wanted one {}"):
        Builder.of(system)


def test_media_written_as_text_and_media_of_another_kind(tmp_path):
    """A placeholder in a text has no medium; a picture is nothing that a speech preset hears."""
    import json

    from speechllm.data.chat import Builder
    from speechllm.data.examples import Examples
    from speechllm.data.manifest import Manifest

    system = tiny.system(config.load("mini"))
    with pytest.raises(ValueError, match="a text holds '<pad>', which stands for padding and for"):
        Builder.of(system).build([{"role": "user", "content": "<pad> what?"}], [])
    picture = {"type": "image", "image": "a.png"}
    talk = [{"role": "user", "content": [picture]}, {"role": "assistant", "content": "a"}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": "a", "duration": 1.0, "messages": talk}) + "\n")
    with pytest.raises(ValueError, match="utterance 'a': a part of type 'image' has no 'audio'"):
        Examples.of(system, Manifest(rows)).make(0, 0)


def test_folders_of_the_wrong_kind(tmp_path):
    """One of ours for import, a published one for decoding, a tokenizer that is not there."""
    from speechllm.models import importing, store
    from speechllm.models.tokens import load_tokenizer

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="nor a checkpoint of speechllm; speechllm import makes"):
        store.find(tmp_path)
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(ValueError, match="is a model folder of ours already: decode or train it"):
        importing.bring(str(tmp_path), tmp_path / "out")
    with pytest.raises(ValueError, match="nothing: no such folder"):
        load_tokenizer(tmp_path / "nothing")


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


def test_what_an_older_transformers_has_not():
    """Only the part that wants it says so."""
    from speechllm.models import hub, importing

    with pytest.raises(ValueError, match=r"transformers \d.* has no WhisperTwoConfig, a newer"):
        hub.newer("WhisperTwoConfig")
    with pytest.raises(ValueError, match=r"has no family 'whisper_two' \(here\), a newer one"):
        importing.read({"model_type": "whisper_two"}, "here")
