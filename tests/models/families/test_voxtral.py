"""Voxtral: what we import equals transformers' own model on its own processor's inputs.

The processor itself wants mistral-common and a file of its tokenizer, so its inputs are made by its
own function for features, and the layout of its prompts is written out.
"""

import base64
import dataclasses
import json

import pytest
import torch
import transformers
from transformers.models.voxtral.processing_voxtral import VoxtralProcessor

from speechllm.models.importing import bring

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
    media = batch.media["audio"]
    windows = media.x.unflatten(1, (-1, 3000))
    used = torch.arange(windows.shape[1]) * 3000 < media.lengths[:, None]
    theirs = inputs["input_features"].transpose(1, 2)
    torch.testing.assert_close(windows[used], theirs, atol=2e-3, rtol=0)
    windows[used] = theirs
    kit.check(
        pair,
        dataclasses.replace(batch, media={"audio": media._replace(x=windows.flatten(1, 2))}),
        inputs,
    )


def tekken(folder) -> list[str]:
    """Write a tekken.json as Mistral publishes it: special tokens, bytes, some pairs of them."""
    specials = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[AUDIO]", "[BEGIN_AUDIO]"]
    specials += ["[TRANSCRIBE]"]
    pieces = [bytes([i]) for i in range(256)] + [b"th", b"the"]
    vocab = [
        {"rank": i, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
        for i, piece in enumerate(pieces)
    ]
    config = {
        "pattern": r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+", "num_vocab_tokens": len(vocab),
        "default_vocab_size": len(vocab) + 20, "default_num_special_tokens": 20, "version": "v11",
    }  # fmt: skip
    rows = [{"rank": i, "token_str": s, "is_control": True} for i, s in enumerate(specials)]
    text = json.dumps({"config": config, "vocab": vocab, "special_tokens": rows})
    (folder / "tekken.json").write_text(text, encoding="utf-8")
    return specials


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_as_published_with_tekken_json_alone(kit, room, tokenizer, activation, tmp_path):
    """Its tokens become a tokenizer that can begin, end and pad; its activation is honoured."""
    torch.manual_seed(0)
    config = transformers.VoxtralConfig(
        audio_config={"model_type": "voxtral_encoder", **kit.WHISPER, "encoder_ffn_dim": 128},
        text_config={"model_type": "llama", "head_dim": 16, **kit.TEXT},
        audio_token_id=6,
        projector_hidden_act=activation,
    )
    model = transformers.VoxtralForConditionalGeneration(config)
    folder = kit.published(model, tmp_path / "published", tokenizer)
    for path in [*folder.glob("tokenizer*"), *folder.glob("special_tokens*")]:
        path.unlink()
    specials = tekken(folder)
    bring(str(folder), tmp_path / "ours")
    pair = kit.Pair(model, tmp_path / "ours", tmp_path)
    ours = pair.system.tokenizer
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == ("<s>", "</s>", "[AUDIO]")
    assert ours.convert_tokens_to_ids(specials) == list(range(len(specials)))
    assert ours("the cat é", add_special_tokens=False).input_ids == [
        277, *(20 + byte for byte in b" cat "), 20 + 0xC3, 20 + 0xA9,
    ]  # fmt: skip
    talks = kit.conversations(*kit.waves(27200, 48077, 31 * 16000))["one"]
    batch, inputs = pair.batch(talks), inputs_of(kit, talks, ours)
    assert torch.equal(batch.ids, inputs["input_ids"])
    logits, wanted = pair.logits(batch, inputs)
    torch.testing.assert_close(logits, wanted, atol=1e-3, rtol=0)


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
