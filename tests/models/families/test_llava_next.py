"""LLaVA-NeXT: what we import equals transformers' own model on its own processor's inputs."""

import pytest
import torch
import transformers

from speechllm.models.families import llava_next
from tests.models.families import pictures

SIZE = 28
VISION = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": SIZE,
          "intermediate_size": 48, "patch_size": 7}  # fmt: skip
GRIDS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]  # height, width


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pair(kit, tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(
        ["<image>", "<s>", "</s>", "<pad>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.padding_side = "left"
    config = transformers.LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "mistral", **kit.TEXT},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=GRIDS,
    )
    model = transformers.LlavaNextForConditionalGeneration(config)
    made = kit.imported(model, tmp_path_factory.mktemp("llava_next"), tokenizer)
    front = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE},
        image_grid_pinpoints=GRIDS,
    )  # fmt: skip
    made.processor = transformers.LlavaNextProcessor(
        front, tokenizer, patch_size=7, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip
    return made


def inputs_of(pair, talks, paths):
    texts = []
    for talk in talks:
        inner = "".join("<image>\n" if isinstance(part, int) else part for part in talk)
        texts.append(f"<s>[INST] {inner} [/INST]")
    seen = [one for row in pictures.opened(talks, paths) for one in row]
    made = pair.processor(images=seen, text=texts, return_tensors="pt", padding=True)
    kept = ("input_ids", "attention_mask", "pixel_values", "image_sizes")
    return {k: made[k] for k in kept}


@pytest.mark.parametrize("name", pictures.TALKS)
def test_equals_transformers(kit, pair, paths, name):
    talks = pictures.TALKS[name]
    batch, inputs = pictures.batch_of(pair, talks, paths), inputs_of(pair, talks, paths)
    wanted = inputs["pixel_values"].flatten(0, 1)
    wanted = wanted[wanted.flatten(1).any(1)]  # fewer tiles than others: filled up with zeros
    ours = pictures.tiles(batch, 4, 7)
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    batch = pair.ours(batch).layout  # slots reserve room for rows that margins take away
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    kit.check(pair, batch, inputs)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)


def test_class_tokens_make_no_picture():
    config = transformers.LlavaNextConfig(vision_feature_select_strategy="full")
    with pytest.raises(ValueError, match="wanted vision_feature_select_strategy 'default'"):
        llava_next.tables(config)
