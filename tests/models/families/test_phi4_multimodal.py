"""Phi-4-multimodal's speech part: what we import equals transformers' own, each audio as alone."""

import functools
import operator

import peft
import pytest
import torch
import transformers
from transformers.image_processing_utils import BaseImageProcessor

from speechllm.models.importing import bring
from speechllm.models.tiny import wake

AUDIO = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_blocks": 2,
    "num_attention_heads": 4,
    "ext_pw_out_channel": 32,
    "depthwise_separable_out_channel": 32,
    "nemo_conv_channels": 8,
    "bias_max_distance": 30,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "crop_size": 28,
}
ROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.0, 2.0, 4.0],
}
TARGETS = r".*model\.layers\.\d+\.(self_attn\.(qkv|o)_proj|mlp\.(gate_up|down)_proj)"
SPECIALS = "<|endoftext|> <|end|> <|system|> <|user|> <|assistant|> <|image|> <|audio|>".split()


@pytest.fixture(scope="module")
def processor(kit):
    tokenizer = kit.tokenizer_of(
        SPECIALS, eos_token="<|endoftext|>", pad_token="<|endoftext|>", padding_side="left"
    )
    for kind in ("image", "audio"):
        setattr(tokenizer, f"{kind}_token", f"<|{kind}|>")
        setattr(tokenizer, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(f"<|{kind}|>"))
    return transformers.Phi4MultimodalProcessor(
        BaseImageProcessor(),  # no images here; its own wants torchvision
        transformers.Phi4MultimodalFeatureExtractor(),
        tokenizer,
    )


@pytest.fixture(scope="module")
def pair(kit, room, processor):
    """Save a checkpoint as the Hub has it, its LoRA in a folder of its own; import it."""
    torch.manual_seed(0)
    tokenizer = processor.tokenizer
    config = transformers.Phi4MultimodalConfig(
        **kit.TEXT,
        rope_parameters=ROPE,
        tie_word_embeddings=True,
        bos_token_id=0,
        pad_token_id=0,
        audio_config={**AUDIO, "audio_token_id": tokenizer.audio_token_id},
        vision_config={**VISION, "image_token_id": tokenizer.image_token_id},
    )
    model = transformers.Phi4MultimodalForCausalLM(config)
    speech = model.model.embed_tokens_extend.audio_embed
    for parameter in speech.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.4 * parameter[0].numel() ** -0.5)
    torch.nn.init.normal_(speech.encoder.encoder_embedding.global_mean)
    torch.nn.init.uniform_(speech.encoder.encoder_embedding.global_invstd, 0.1, 0.3)
    folder = kit.published(model, room / "published", tokenizer)
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS)
    model.add_adapter(lora, adapter_name="speech")
    wake(model, std=0.3)
    model.eval().save_pretrained(folder / "speech-lora")
    bring(str(folder), room / "ours")
    return kit.Pair(model, room / "ours", room)


def write(talk: list[dict]) -> str:
    """Write a conversation as the published chat template does."""
    text = ""
    for message in talk:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        inside = "".join(part.get("text", "<|audio|>") for part in parts)
        text += f"<|{message['role']}|>{inside}<|end|>"
    return text + "<|assistant|>"


def inputs_of(kit, processor, talks: list[list[dict]]) -> dict:
    """Give conversations to their processor."""
    audio = kit.audio_of(talks)
    inputs = processor(
        text=[write(talk) for talk in talks],
        audio=audio or None,
        sampling_rate=kit.RATE,
        return_tensors="pt",
        padding=True,
    )
    names = [*processor.audio_processor.model_input_names, "input_ids", "attention_mask"]
    return {key: value for key, value in inputs.items() if key in names}


@pytest.fixture
def talks(kit):
    first = {"role": "system", "content": "Be brief."}
    return kit.rows_apart(*kit.waves(27200, 27200, 90077), first=(first,))


@pytest.mark.parametrize("name", ["one", "long", "several", "padding"])
def test_equals_transformers(kit, pair, processor, talks, name):
    """Ids, features, logits, 30 tokens; a row without audio has the plain LLM's, in any batch."""
    inputs = [inputs_of(kit, processor, [talk]) for talk in talks[name]]
    heard = operator.methodcaller("get", "audio_input_features", ())
    kit.check_alone(pair, talks[name], inputs, heard, atol=2e-3)


def test_padding_changes_theirs(kit, pair, processor, talks):
    make = functools.partial(inputs_of, kit, processor)
    kit.check_padding(pair, talks["padding"][:2], make)


def test_the_folder_says_its_lora(pair):
    """Targets from the tensors, where the checkpoint has a pattern; with what it takes part."""
    lora = pair.system.llm.loras["speech"]
    assert (lora.r, lora.alpha, lora.media) == (4, 8.0, ("audio",))
    assert lora.targets == ("down_proj", "gate_up_proj", "o_proj", "qkv_proj")
    assert pair.system.llm.config["model_type"] == "phi3"


def test_without_its_lora(room, pair, tmp_path):
    """A checkpoint whose LoRA was not downloaded is refused."""
    import shutil

    folder = shutil.copytree(room / "published", tmp_path / "broken")
    shutil.rmtree(folder / "speech-lora")
    with pytest.raises(ValueError, match="speech-lora.*its LoRA cannot be read"):
        bring(str(folder), tmp_path / "ours")
