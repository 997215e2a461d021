"""Qwen3-ASR: what we import equals transformers' own model on its own processor's inputs.

In a batch its processor pads waves before the log-mel: whole seconds that end in silence are then
as alone, and those are what the padded case has. Its texts have one audio each; for several,
features come from it and ids from our builder.
"""

import dataclasses

import pytest
import torch
import transformers

SPECIALS = ["<|audio_start|>", "<|audio_end|>", "<|audio_pad|>"]
TEMPLATE = (
    "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
    "<|audio_start|><|audio_pad|><|audio_end|><|im_end|>\n{{ '<|im_start|>assistant\n' }}"
)


@pytest.fixture(scope="module")
def processor(kit):
    tokenizer = kit.tokenizer_of(
        [*kit.CHATML, *SPECIALS], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    names = ("audio_bos_token", "audio_eos_token", "audio_token")
    for name, token in zip(names, SPECIALS, strict=True):
        setattr(tokenizer, name, token)
    front = transformers.Qwen3ASRFeatureExtractor()
    return transformers.Qwen3ASRProcessor(front, tokenizer, chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def pair(kit, room, processor):
    torch.manual_seed(0)
    own = {"downsample_hidden_size": 6, "output_dim": kit.TEXT["hidden_size"]}
    config = transformers.Qwen3ASRConfig(
        audio_config={"model_type": "qwen3_asr_encoder", **kit.WHISPER, **own},
        text_config={"model_type": "qwen3", "head_dim": 16, **kit.TEXT},
        audio_token_id=processor.audio_token_id,
        pad_token_id=0,
        eos_token_id=[2],
    )
    model = transformers.Qwen3ASRForConditionalGeneration(config)
    return kit.imported(model, room, processor.tokenizer)


@pytest.mark.parametrize("name", ["one", "short", "long", "several", "padding"])
def test_equals_transformers(kit, pair, processor, name):
    waves = kit.waves(27277, 5000, 31 * 16000 + 9, 9 * 16000, 48000)
    for wave in waves[3:]:
        wave[-600:] = 0
    one, short, long, nine, three = ([kit.turn(wave)] for wave in waves)
    several = [kit.turn(waves[3], waves[4])]
    talks = {
        "one": [one],
        "short": [short],
        "long": [long],
        "several": [several, three],
        "padding": [three, nine],
    }[name]
    batch, audio = pair.batch(talks), kit.audio_of(talks)
    texts = [processor.apply_chat_template(talk) for talk in talks]
    if name == "several":
        texts = ["<|audio_pad|>"] * len(audio)
    inputs = processor(text=texts, audio=audio)
    if name == "several":
        ids = batch.ids.masked_fill(batch.segments == 0, 0)  # we pad with the placeholder
        inputs.update(input_ids=ids, attention_mask=batch.segments)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    mask = inputs["input_features_mask"] > 0
    assert batch.media["audio"].lengths.tolist() == mask.sum(1).tolist()
    theirs = inputs["input_features"].transpose(1, 2)[:, : batch.media["audio"].x.shape[1]]
    inside = mask[:, : theirs.shape[1]]
    torch.testing.assert_close(batch.media["audio"].x[inside], theirs[inside], atol=2e-3, rtol=0)
    kit.check(
        pair,
        dataclasses.replace(batch, media={"audio": batch.media["audio"]._replace(x=theirs)}),
        inputs,
    )


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
