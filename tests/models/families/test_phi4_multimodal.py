"""Phi-4-multimodal: speech, pictures and both in one prompt as in transformers, each as alone.

transformers 5.23 lets a tile's patches attend causally where no tile of a batch is filled up; its
attention is told here that it is not causal, which is what it computes elsewhere. Its processor of
pictures wants torchvision, of which it calls two functions: where that is not installed they are
torch's own here (torchvision 0.28 calls the same), the processor's steps are its own.
"""

import functools
import itertools
import json
import operator
import re
import shutil

import numpy as np
import peft
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from features import patches
from speechllm.models.adapters import hd
from speechllm.models.importing import bring
from speechllm.models.tiny import wake
from tests.models.families import pictures, tiled

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
    "patch_size": 7,
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
        tiled.Seen(VISION["crop_size"], VISION["patch_size"]),
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
    seen = model.model.embed_tokens_extend.image_embed
    for name, parameter in seen.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.4 * parameter[0].numel() ** -0.5)
        if "extensor" in name:
            torch.nn.init.normal_(parameter)
    for layer in seen.img_processor.encoder.layers:
        layer.self_attn.is_causal = False
    folder = kit.published(model, room / "published", tokenizer)
    for name, rank in (("speech", 4), ("vision", 6)):
        lora = peft.LoraConfig(r=rank, lora_alpha=8, target_modules=TARGETS)
        model.add_adapter(lora, adapter_name=name)
        model.set_adapter(name)
    wake(model, std=0.3)
    for name in ("speech", "vision"):
        model.set_adapter(name)
        model.eval().save_pretrained(folder / f"{name}-lora")
    bring(str(folder), room / "ours")
    return kit.Pair(model, room / "ours", room)


def write(talk: list[dict]) -> str:
    """Write a conversation as the published chat template does."""
    text = ""
    for message in talk:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        inside = "".join(part.get("text", f"<|{part['type']}|>") for part in parts)
        text += f"<|{message['role']}|>{inside}<|end|>"
    return text + "<|assistant|>"


def inputs_of(kit, processor, talks: list[list[dict]]) -> dict:
    """Give conversations to their processor."""
    audio = kit.audio_of(talks)
    turns = [m["content"] for talk in talks for m in talk if not isinstance(m["content"], str)]
    seen = [Image.open(p["image"]) for parts in turns for p in parts if p["type"] == "image"]
    inputs = processor(
        text=[write(talk) for talk in talks],
        images=seen or None,
        audio=audio or None,
        sampling_rate=kit.RATE,
        return_tensors="pt",
        padding=True,
    )
    names = [*processor.audio_processor.model_input_names, "input_ids", "attention_mask"]
    names += ["image_pixel_values", "image_sizes", "image_attention_mask"]
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


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("name", ["picture", "both", "several"])
def test_pictures_equal_transformers(kit, pair, processor, paths, name):
    """Alone, beside speech, and rows of all kinds together: each has its LoRA and projector."""
    a, b, _ = kit.waves(27200, 20000, 1600)
    small, square, strip = paths
    answer = {"role": "assistant", "content": "this"}
    talks = {
        "picture": [[kit.turn(square, "what is it?")]],
        "both": [[kit.turn(small, "and", a, "the same?"), answer, kit.turn(strip, "and this?")]],
        "several": [
            [kit.turn(strip, square, "which?")],
            [kit.turn("What is said:", a)],
            [kit.turn(b, "what is in", small)],
            [kit.turn("nothing to see or hear")],
        ],
    }[name]
    inputs = [inputs_of(kit, processor, [talk]) for talk in talks]
    batch, side = pair.batch(talks), VISION["crop_size"] // VISION["patch_size"]
    wanted = [x for row in inputs for x in row.get("image_pixel_values", ())]
    sizes = [x for row in inputs for x in row.get("image_sizes", ())]
    there = [1 + int(size.prod()) // VISION["crop_size"] ** 2 for size in sizes]
    wanted = torch.cat([x[:n] for x, n in zip(wanted, there, strict=True)])
    ours = pictures.tiles(batch, side, VISION["patch_size"])
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    heard = operator.methodcaller("get", "audio_input_features", ())
    also = (processor.tokenizer.image_token_id,)
    kit.check_alone(pair, talks, inputs, heard, atol=2e-3, also=also)


def test_tiles_are_theirs():
    """Pixels, masks and the number of soft tokens of pictures of any shape; of an odd side, too."""
    rng = np.random.default_rng(3)
    sizes = [(1, 1), (28, 28), (29, 28), (500, 40), (28, 1008), (28, 1036), (300, 310)]
    for patch, (high, wide) in itertools.product((7, 4), [*sizes, *rng.integers(5, 200, (12, 2))]):
        pixels = rng.integers(0, 256, (int(high), int(wide), 3)).astype(np.uint8)
        front = patches.get("phi4", size=28, patch=patch)
        x, n = front(pixels)
        theirs = tiled.Seen(28, patch)([Image.fromarray(pixels)])
        side = 28 // patch
        shape = (-1, side, side, 3, patch, patch)
        ours = (
            x[:, : -patches.PLACE].reshape(shape).permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, 28, 28)
        )
        torch.testing.assert_close(ours, theirs["image_pixel_values"][0], atol=1e-5, rtol=0)
        seen = (x[:, -2] >= 0).reshape(-1, side, side)
        assert torch.equal(seen, theirs["image_attention_mask"][0].bool())
        adapter = hd.Config(side=side).build(6, torch.nn.Embedding(5, 8))
        _, counts = adapter(torch.randn(1, n, 6), torch.tensor([n]), x[None, :, -3:].long())
        assert counts.tolist() == theirs["num_img_tokens"] and counts <= adapter.config.count(n)


def test_padding_changes_theirs(kit, pair, processor, talks):
    pair.theirs.enable_adapters()
    pair.theirs.set_adapter("speech")
    make = functools.partial(inputs_of, kit, processor)
    kit.check_padding(pair, talks["padding"][:2], make)


def test_the_folder_says_its_lora(pair):
    """Targets from the tensors, where the checkpoint has a pattern; with what it takes part."""
    lora = pair.system.llm.loras["speech"]
    assert (lora.r, lora.alpha, lora.media, lora.without) == (4, 8.0, ("audio",), ("image",))
    vision = pair.system.llm.loras["vision"]
    assert (vision.r, vision.media, vision.without) == (6, ("image",), ())
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
    r"img_projection_up\.": "img_projection.0.",
    r"img_projection_down\.": "img_projection.2.",
    r"sub_img_feature_extensor$": "sub_GN",
    r"global_img_feature_extensor$": "glb_GN",
    r"^(model\.layers\.\d+\.\w+\.\w+_proj)\.": r"\1.base_layer.",
}


def original(published, folder):
    """Write a checkpoint as the repository's main branch has it: names, config.json, its LoRA."""
    shutil.copytree(published, folder)
    fields = json.loads((folder / "config.json").read_text())
    audio = fields.pop("audio_config")
    vision = fields.pop("vision_config")
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
    fields["embd_layer"] = {"audio_embd_layer": {"downsample_rate": 1}, "image_embd_layer": vision}
    fields["rope_scaling"] = {"type": "longrope"}
    fields["rope_scaling"] |= {k: v for k, v in rope.items() if k.endswith("_factor")}
    fields["partial_rotary_factor"] = fields["rope_scaling"].pop("partial_rotary_factor")
    fields["rope_theta"] = rope["rope_theta"]
    (folder / "config.json").write_text(json.dumps(fields))
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for pattern, replacement in ORIGINAL.items():
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor
    for kind in ("speech", "vision"):
        file = folder / f"{kind}-lora" / "adapter_model.safetensors"
        lora = {name.removeprefix("base_model.model."): t for name, t in load_file(file).items()}
        tensors |= {name.replace(".weight", f".{kind}.weight"): t for name, t in lora.items()}
        save_file(lora, file)
    save_file(tensors, folder / "model.safetensors")
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
    for key in ("frontend", "encoder", "adapter", "branch", "llm", "chat"):
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
