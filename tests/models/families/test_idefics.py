"""Idefics: what we import equals transformers' own model on its own processor's inputs."""

import pytest
import torch
import transformers

from speechllm.models.families import idefics
from speechllm.models.families._unread import unread
from tests.models.families import pictures

SIZE = 28
VISION = {"embed_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIZE,
          "intermediate_size": 48, "patch_size": 14}  # fmt: skip
PERCEIVER = {"resampler_n_latents": 5, "resampler_depth": 2, "resampler_n_heads": 4,
             "resampler_head_dim": 6}  # fmt: skip
END = "<end_of_utterance>"
CASES = {  # as published: instruct's tokenizer knows where a turn ends; and all that may differ
    "instruct": {
        "additional_vocab_size": 3, "use_resampler": True, "qk_layer_norms": True,
        "perceiver_config": {**PERCEIVER, "qk_layer_norms_perceiver": True},
        "cross_layer_interval": 2,
    },
    "base": {"additional_vocab_size": 2, "use_resampler": True, "perceiver_config": PERCEIVER,
             "alpha_type": "vector", "tie_word_embeddings": True},
    "bare": {"cross_layer_interval": 4},
}  # fmt: skip
TALKS = {**pictures.TALKS, "padding": [*pictures.TALKS["padding"], ("no picture at all",)]}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module", params=CASES)
def pair(request, kit, tmp_path_factory):
    torch.manual_seed(0)
    case = CASES[request.param]
    added = ["<fake_token_around_image>", "<image>", END][: case.get("additional_vocab_size", 2)]
    tokenizer = kit.tokenizer_of(
        [*added, "<s>", "</s>", "<unk>"], bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    tokenizer.padding_side = "left"
    more = case.get("additional_vocab_size", 0)
    text = {**kit.TEXT, "num_hidden_layers": 4, "vocab_size": kit.TEXT["vocab_size"] - more}
    text.pop("num_key_value_heads")
    config = transformers.IdeficsConfig(
        vision_config=VISION, alpha_initializer="ones", pad_token_id=0, bos_token_id=1,
        eos_token_id=2, freeze_lm_head=True, **{**text, **case},
    )  # fmt: skip
    model = transformers.IdeficsForVisionText2Text(config)
    made = kit.imported(model, tmp_path_factory.mktemp(request.param), tokenizer)
    front = transformers.IdeficsImageProcessorPil(image_size=SIZE)
    made.processor = transformers.IdeficsProcessor(front, tokenizer, image_size=SIZE)
    made.end = END if END in added else ""
    return made


def inputs_of(pair, talks, paths) -> dict:
    """Their inputs, as the card of the instruct checkpoint writes a prompt."""
    prompts = []
    for talk, seen in zip(talks, pictures.opened(talks, paths), strict=True):
        seen = iter(seen)
        parts = [next(seen) if isinstance(part, int) else part for part in talk]
        prompts.append(["User:", *parts, f"{pair.end}\nAssistant:"])
    made = pair.processor(text=prompts, add_end_of_utterance_token=False, return_tensors="pt")
    return {key: made[key] for key in made if key != "token_type_ids"}


@pytest.mark.parametrize("name", TALKS)
def test_equals_transformers(kit, pair, paths, name):
    talks = TALKS[name]
    batch, inputs = pictures.batch_of(pair, talks, paths), inputs_of(pair, talks, paths)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    there = [row[: len(seen)] for row, seen in
             zip(inputs["pixel_values"], pictures.opened(talks, paths), strict=True)]  # fmt: skip
    torch.testing.assert_close(pictures.tiles(batch, 2, 14), torch.cat(there), atol=1e-5, rtol=0)
    kit.check(pair, batch, inputs)


@torch.no_grad()
def test_a_row_is_what_it_is_alone(pair, paths):
    """With pictures or without, beside others and by itself."""
    talks = TALKS["padding"]
    whole = pair.ours(pictures.labelled(pictures.batch_of(pair, talks, paths)))
    for row, talk in enumerate(talks):
        alone = pair.ours(pictures.labelled(pictures.batch_of(pair, [talk], paths))).logits
        there = whole.logits[whole.places[0] == row]
        torch.testing.assert_close(there[-len(alone) :], alone, atol=1e-4, rtol=0)


def test_lora_begins_where_the_import_stands(kit, pair, paths, tmp_path):
    if not pair.system.branches["image"].adapter.count(1) > 1:
        pytest.skip("an adapter of no weights takes no LoRA")
    pictures.check_lora(kit, pair, paths, tmp_path)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    ids = torch.arange(20, 40)[None]
    inputs = {"input_ids": ids, "pixel_values": torch.rand(1, 1, 3, SIZE, SIZE),
              "image_attention_mask": torch.ones(1, 20, 1)}  # fmt: skip
    kit.check_export(pair, tmp_path, inputs)


def test_what_a_published_config_says_is_read():
    """Fields of idefics-9b's config.json that say something, and what its trainer left there."""
    config = transformers.IdeficsConfig(
        additional_vocab_size=2, cross_layer_interval=4, qk_layer_norms=True, use_resampler=True,
        freeze_lm_head=True, freeze_vision_module_exceptions=["LayerNorm"], vision_embed_dim=1280,
        vision_config={"embed_dim": 1280, "vision_model_name": "CLIP-ViT-H-14"}, max_new_tokens=100,
        perceiver_config={"qk_layer_norms_perceiver": True},
    )  # fmt: skip
    assert unread(config, idefics.tables, idefics.LOUD) == []
    tables = idefics.tables(config)
    assert tables["llm"]["config"]["vocab_size"] == 32002 and tables["fusion"]["width"] == 1280
    assert tables["branch"]["image"]["adapter"]["latents"] == 64
    vision = transformers.IdeficsConfig(vision_config={"hidden_act": "relu"}).vision_config
    config.vision_config = vision
    assert idefics.tables(config)["branch"]["image"]["encoder"]["config"]["hidden_act"] == "relu"
