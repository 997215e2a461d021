"""Phi-4-multimodal's speech part: what we import equals transformers' own, each audio as alone."""

import functools
import json
import operator
import re
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
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


ORIGINAL = {  # names as transformers has them -> those of the repository's main branch
    r"(encoders\.\d+\.feed_forward_\w+)\.gate_up_proj\.": r"\1.net.0.linear.",
    r"(encoders\.\d+\.feed_forward_\w+)\.down_proj\.": r"\1.net.2.",
    r"(encoders\.\d+\.self_attn)\.([qkv])_proj\.": r"\1.linear_\2.",
    r"(encoders\.\d+\.self_attn)\.o_proj\.": r"\1.linear_out.",
    r"up_proj_for_speech\.": "audio_projection.speech.0.",
    r"down_proj_for_speech\.": "audio_projection.speech.2.",
    r"up_proj_for_vision_speech\.": "audio_projection.vision.0.",
    r"down_proj_for_vision_speech\.": "audio_projection.vision.2.",
    r"^(model\.layers\.\d+\.\w+\.\w+_proj)\.": r"\1.base_layer.",
}


def original(published, folder):
    """Write a checkpoint as the repository's main branch has it: names, config.json, its LoRA."""
    shutil.copytree(published, folder)
    fields = json.loads((folder / "config.json").read_text())
    audio = fields.pop("audio_config")
    fields.pop("vision_config")
    rope = fields.pop("rope_parameters")
    theirs = {"attention_dim": "hidden_size", "attention_heads": "num_attention_heads"}
    theirs |= {"linear_units": "intermediate_size"}
    theirs |= {"depthwise_seperable_out_channel": "depthwise_separable_out_channel"}
    same = (
        "num_blocks kernel_size ext_pw_out_channel input_size time_reduction audio_token_id".split()
    )
    settings = {**{k: audio[v] for k, v in theirs.items()}, **{k: audio[k] for k in same}}
    settings["nemo_conv_settings"] = {"conv_channels": audio["nemo_conv_channels"]}
    settings["relative_attention_bias_args"] = {"t5_bias_max_distance": audio["bias_max_distance"]}
    fields |= {"model_type": "phi4mm", "audio_processor": {"name": "cascades", "config": settings}}
    fields["embd_layer"] = {"audio_embd_layer": {"downsample_rate": 1}, "image_embd_layer": {}}
    fields["rope_scaling"] = {"type": "longrope"}
    fields["rope_scaling"] |= {k: v for k, v in rope.items() if k.endswith("_factor")}
    fields["partial_rotary_factor"] = fields["rope_scaling"].pop("partial_rotary_factor")
    fields["rope_theta"] = rope["rope_theta"]
    (folder / "config.json").write_text(json.dumps(fields))
    tensors, lora = {}, load_file(folder / "speech-lora" / "adapter_model.safetensors")
    for name, tensor in load_file(folder / "model.safetensors").items():
        for pattern, replacement in ORIGINAL.items():
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    lora = {name.removeprefix("base_model.model."): tensor for name, tensor in lora.items()}
    beside = {name.replace(".weight", ".speech.weight"): tensor for name, tensor in lora.items()}
    save_file(tensors | beside, folder / "model.safetensors")
    save_file(lora, folder / "speech-lora" / "adapter_model.safetensors")
    return folder


def test_the_format_of_its_own_repository(room, pair, tmp_path):
    """The same tensors and the same preset as from transformers' format."""
    folder = original(room / "published", tmp_path / "original")
    fields = json.loads((folder / "config.json").read_text())
    made = bring(str(folder), tmp_path / "ours")
    assert made.family == "phi4mm"
    ours, wanted = (load_file(f / "model.safetensors") for f in (tmp_path / "ours", pair.folder))
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in wanted.items())
    expected = dict(pair.system.preset.tables)
    for key in ("frontend", "encoder", "adapter", "llm", "chat"):
        assert made.system.preset.tables[key] == expected[key], key
    del fields["audio_processor"]["config"]["nemo_conv_settings"]
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="phi4mm lacks 'nemo_conv_settings'"):
        bring(str(folder), tmp_path / "again")


def test_without_its_lora(room, pair, tmp_path):
    """A checkpoint whose LoRA was not downloaded is refused."""
    folder = shutil.copytree(room / "published", tmp_path / "broken")
    shutil.rmtree(folder / "speech-lora")
    with pytest.raises(ValueError, match="speech-lora.*its LoRA cannot be read"):
        bring(str(folder), tmp_path / "ours")


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
