"""Voxtral: what we import equals transformers' own model on its own processor's inputs.

The processor itself wants mistral-common and a file of its tokenizer, so its inputs are made by its
own function for features, and the layout of its prompts is written out.
"""

import dataclasses

import pytest
import torch
import transformers
from transformers.models.voxtral.processing_voxtral import VoxtralProcessor

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[AUDIO]", "[BEGIN_AUDIO]"]


@pytest.fixture(scope="module")
def tokenizer(kit):
    return kit.tokenizer_of(
        SPECIALS, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def pair(kit, room, tokenizer):
    torch.manual_seed(0)
    audio = {"encoder_ffn_dim": 128, "layerdrop": 0.0}  # 4 states a token
    config = transformers.VoxtralConfig(
        audio_config={"model_type": "voxtral_encoder", **kit.WHISPER, **audio},
        text_config={"model_type": "llama", "head_dim": 16, **kit.TEXT},
        audio_token_id=tokenizer.convert_tokens_to_ids("[AUDIO]"),
    )
    model = transformers.VoxtralForConditionalGeneration(config)
    return kit.imported(model, room, tokenizer)


def inputs_of(kit, talks, tokenizer):
    """Make what the processor would: a mark and 375 placeholders a window of 30 s."""
    texts = []
    for talk in talks:
        text = "<s>"
        for message in talk:
            parts = message["content"]
            parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
            inside = "".join(
                part["text"]
                if part["type"] == "text"
                else "[BEGIN_AUDIO]" + "[AUDIO]" * 375 * -(-len(part["audio"]) // 480000)
                for part in parts
            )
            text += inside + "</s>" if message["role"] == "assistant" else f"[INST]{inside}[/INST]"
        texts.append(text)
    front = transformers.WhisperFeatureExtractor(feature_size=128)
    owner = type("Processor", (), {"feature_extractor": front})
    options = {**VoxtralProcessor.audio_kwargs}
    size = options.pop("max_source_positions")
    encoded = tokenizer(
        texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
    )
    encoded.pop("token_type_ids", None)
    features = VoxtralProcessor._retrieve_input_features(
        owner, kit.audio_of(talks), size, **options
    )
    return {**encoded, "input_features": features}


@pytest.mark.parametrize("name", ["one", "long", "several", "padding"])
def test_equals_transformers(kit, pair, tokenizer, name):
    talks = kit.conversations(*kit.waves(27200, 48077, 31 * 16000))[name]
    batch, inputs = pair.batch(talks), inputs_of(kit, talks, tokenizer)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    windows = batch.media.unflatten(1, (-1, 3000))
    used = torch.arange(windows.shape[1]) * 3000 < batch.media_lengths[:, None]
    theirs = inputs["input_features"].transpose(1, 2)
    torch.testing.assert_close(windows[used], theirs, atol=2e-3, rtol=0)
    windows[used] = theirs
    kit.check(pair, dataclasses.replace(batch, media=windows.flatten(1, 2)), inputs)
