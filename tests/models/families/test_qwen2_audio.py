"""Qwen2-Audio: what we import equals transformers' own model on its own processor's inputs."""

import dataclasses

import pytest
import torch
import transformers

SPECIALS = ["<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]


@pytest.fixture(scope="module")
def processor(kit):
    tokenizer = kit.tokenizer_of(
        [*kit.CHATML, *SPECIALS], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.padding_side = "left"
    front = transformers.WhisperFeatureExtractor(feature_size=128)
    return transformers.Qwen2AudioProcessor(front, tokenizer)


@pytest.fixture(scope="module")
def pair(kit, room, processor):
    torch.manual_seed(0)
    config = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **kit.WHISPER},
        text_config={"model_type": "qwen2", **kit.TEXT},
        audio_token_index=processor.tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = transformers.Qwen2AudioForConditionalGeneration(config)
    return kit.imported(model, room, processor.tokenizer)


@pytest.mark.parametrize("name", ["one", "long", "several", "padding"])
def test_equals_transformers(kit, pair, processor, name):
    waves = kit.waves(27200, 48077, 480000)
    talks = kit.conversations(*waves)[name]
    batch = pair.batch(talks)
    texts = [processor.apply_chat_template(talk, add_generation_prompt=True) for talk in talks]
    inputs = processor(
        text=texts,
        audio=kit.audio_of(talks),
        sampling_rate=kit.RATE,
        return_tensors="pt",
        padding=True,
    )
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    theirs = inputs["input_features"].transpose(1, 2)
    torch.testing.assert_close(batch.media["audio"].x, theirs, atol=2e-3, rtol=0)
    kit.check(
        pair,
        dataclasses.replace(batch, media={"audio": batch.media["audio"]._replace(x=theirs)}),
        inputs,
    )


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
