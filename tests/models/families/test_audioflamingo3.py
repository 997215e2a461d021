"""Audio Flamingo 3: what we import equals transformers' own model on its processor's inputs.

Its processor knows one audio a text; for several, features come from it and ids from our builder.
"""

import dataclasses

import pytest
import torch
import transformers

# one audio of a turn first, then its texts: the layout that the published processor has
TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n<sound>"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)


@pytest.fixture(scope="module")
def processor(kit):
    tokenizer = kit.tokenizer_of(
        [*kit.CHATML, "<sound>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    front = transformers.WhisperFeatureExtractor(feature_size=128, return_attention_mask=True)
    return transformers.AudioFlamingo3Processor(front, tokenizer, chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def pair(kit, room, processor):
    torch.manual_seed(0)
    config = transformers.AudioFlamingo3Config(
        audio_config={"model_type": "audioflamingo3_encoder", **kit.WHISPER},
        text_config={"model_type": "qwen2", **kit.TEXT},
        audio_token_id=processor.audio_token_id,
    )
    model = transformers.AudioFlamingo3ForConditionalGeneration(config)
    return kit.imported(model, room, processor.tokenizer)


@pytest.mark.parametrize("name", ["one", "long", "several", "padding", "whole"])
def test_equals_transformers(kit, pair, processor, name):
    waves = kit.waves(27200, 48077, 1000001, 960000)
    talks = kit.conversations(*waves[:3])
    talks["padding"] = [[kit.turn(wave, "What is that sound?")] for wave in waves[:3]]
    talks["whole"] = [[kit.turn(waves[3], "Two windows")]]
    batch = pair.batch(talks[name])
    texts = [processor.apply_chat_template(talk) for talk in talks[name]]
    audio = kit.audio_of(talks[name])
    if name == "several":
        texts = ["<sound>"] * len(audio)
    inputs = processor(text=texts, audio=audio)
    if name == "several":
        inputs.update(input_ids=batch.ids, attention_mask=batch.segments)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    media = batch.media["audio"]
    windows = media.x.unflatten(1, (-1, 3000))
    used = torch.arange(windows.shape[1]) * 3000 < media.lengths[:, None]
    theirs = inputs["input_features"].transpose(1, 2)
    torch.testing.assert_close(windows[used], theirs, atol=2e-3, rtol=0)
    assert int(inputs["input_features_mask"].sum()) == int(media.lengths.sum())
    windows[used] = theirs
    kit.check(
        pair,
        dataclasses.replace(batch, media={"audio": media._replace(x=windows.flatten(1, 2))}),
        inputs,
    )


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
