"""Granite speech: what we import equals transformers' own model, each audio as it is alone."""

import functools
import json

import peft
import pytest
import torch
import transformers

from speechllm.models import export, quantised
from speechllm.models.importing import bring
from speechllm.models.tiny import wake

ENCODER = {
    "num_layers": 4,
    "hidden_dim": 32,
    "num_heads": 4,
    "context_size": 20,
    "max_pos_emb": 32,
    "output_dim": 12,
    "conv_kernel_size": 5,
}
PROJECTOR = {
    "model_type": "blip_2_qformer",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "encoder_hidden_size": 32,
    "cross_attention_frequency": 1,
}
SCALES = {
    "embedding_multiplier": 1.5,
    "residual_multiplier": 0.8,
    "attention_multiplier": 0.3,
    "logits_scaling": 0.9,
}
ROLE = "<|start_of_role|>{}<|end_of_role|>"
SPECIALS = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>"]


@pytest.fixture(scope="module")
def processor(kit):
    tokenizer = kit.tokenizer_of(
        SPECIALS, eos_token="<|end_of_text|>", pad_token="<|end_of_text|>", padding_side="left"
    )
    return transformers.GraniteSpeechProcessor(
        transformers.GraniteSpeechFeatureExtractor(), tokenizer
    )


@pytest.fixture(scope="module")
def folder(kit, room, processor):
    """Save a checkpoint as the Hub has it: the model, and its LoRA beside it."""
    torch.manual_seed(0)
    tokenizer = processor.tokenizer
    config = transformers.GraniteSpeechConfig(
        encoder_config=ENCODER,
        projector_config=PROJECTOR,
        text_config={"model_type": "granite", **kit.TEXT, **SCALES},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
    )
    model = transformers.GraniteSpeechForConditionalGeneration(config)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        elif isinstance(module, torch.nn.Linear) and "language_model" not in name:
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
    folder = kit.published(model, room / "published", tokenizer)
    model.add_adapter(peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]))
    wake(model, std=0.3)
    transformers.PreTrainedModel.save_pretrained(model, folder)
    assert (folder / "adapter_model.safetensors").is_file()
    return folder


@pytest.fixture(scope="module")
def pair(kit, room, folder):
    bring(str(folder), room / "ours")
    theirs = transformers.GraniteSpeechForConditionalGeneration.from_pretrained(folder).eval()
    return kit.Pair(theirs, room / "ours", room)


def write(talk: list[dict]) -> str:
    """Write a conversation as the published chat template does."""
    from speechllm.models.families.granite_speech import SYSTEM

    text = ROLE.format("system") + SYSTEM + "<|end_of_text|>\n"
    for message in talk:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        inside = "".join(part.get("text", "<|audio|>") for part in parts)
        text += ROLE.format(message["role"]) + inside + "<|end_of_text|>\n"
    return text + ROLE.format("assistant")


def inputs_of(kit, processor, talks: list[list[dict]]) -> dict:
    """Give conversations to their processor."""
    audio = [torch.from_numpy(wave) for wave in kit.audio_of(talks)]
    inputs = processor(
        text=[write(talk) for talk in talks], audio=audio or None, return_tensors="pt", padding=True
    )
    return {key: value for key, value in inputs.items() if key != "token_type_ids"}


def heard(inputs: dict):
    """Their features (T, 80) of each audio: they have two frames in one."""
    return (x.unflatten(-1, (2, 80)).flatten(0, 1) for x in inputs.get("input_features", ()))


@pytest.fixture
def talks(kit):
    return kit.rows_apart(*kit.waves(27200, 27200, 90077))


@pytest.mark.parametrize("name", ["one", "long", "several", "padding"])
def test_equals_transformers(kit, pair, processor, talks, name):
    """Ids, features, logits, 30 tokens; a row without audio has the plain LLM's, in any batch."""
    inputs = [inputs_of(kit, processor, [talk]) for talk in talks[name]]
    scaling = SCALES["logits_scaling"]  # which theirs leave out
    kit.check_alone(pair, talks[name], inputs, heard, stack=2, scaling=scaling)


def test_padding_changes_theirs(kit, pair, processor, talks):
    make = functools.partial(inputs_of, kit, processor)
    kit.check_padding(pair, talks["padding"][:2], make, SCALES["logits_scaling"])


def test_the_folder_says_its_lora(pair):
    """Rank, scale, targets, and with what it takes part."""
    lora = pair.system.llm.loras["speech"]
    assert (lora.r, lora.alpha, lora.targets) == (4, 6.0, ("q_proj", "v_proj"))
    assert lora.media == ("audio",)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"use_rslora": True}, "wanted use_rslora False, got True"),
        ({"r": 5}, r"other shape: \S*lora_A"),
        (None, "its LoRA cannot be read"),
    ],
)
def test_a_lora_that_does_not_fit(folder, room, tmp_path, change, message):
    """Another kind, another rank, none at all: each is said before anything is written."""
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    file = broken / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.unlink()
    if change:
        file.write_text(json.dumps({**settings, **change}))
    with pytest.raises(ValueError, match=message):
        bring(str(broken), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_lora_begins_where_the_import_stands(kit, pair, tmp_path):
    kit.check_lora(pair, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_its_lora_stays_beside_fewer_bits(pair, tmp_path, kind):
    """Their class opens both together, and the LoRA has its part in the answer."""
    out = tmp_path / kind
    before, after = export.to_transformers(pair.folder, out, "", quantize=kind).sizes
    assert after < before
    ids = {"input_ids": torch.arange(20, 40)[None]}
    with torch.no_grad():
        alone = quantised.reopen(out, type(pair.theirs))(**ids).logits
        both = type(pair.theirs).from_pretrained(out, dtype="auto").eval()(**ids).logits
        wanted = pair.theirs(**ids).logits
    assert (both - wanted).abs().max() < 0.5 * (alone - wanted).abs().max()
