"""Qwen2-VL: what we import equals transformers' own model on its own processor's inputs."""

import dataclasses

import pytest
import torch
import transformers

from speechllm.models.system import System
from tests.models.families import pictures

VISION = {"depth": 2, "embed_dim": 32, "num_heads": 4, "mlp_ratio": 2, "patch_size": 7,
          "hidden_size": 48, "initializer_range": 0.2}  # fmt: skip
PATCHES = 16, 36  # least and most, of a picture
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
            "<|image_pad|>"]  # fmt: skip
FORM = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pair(kit, tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(SPECIALS, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.padding_side = "left"
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    config = transformers.Qwen2VLConfig(
        vision_config=VISION, text_config={**kit.TEXT, "rope_parameters": rope},
        image_token_id=image, video_token_id=319, vision_start_token_id=3, vision_end_token_id=4,
    )  # fmt: skip
    model = transformers.Qwen2VLForConditionalGeneration(config)
    made = kit.imported(model, tmp_path_factory.mktemp("qwen2_vl"), tokenizer)
    made.tokenizer, made.image = tokenizer, image
    front = made.system.preset.tables["branch"]["image"]["frontend"]
    front.update(least_patches=PATCHES[0], most_patches=PATCHES[1])
    made.system = System(made.system.preset, made.system.tokenizer)  # with that front end
    made.processor = transformers.Qwen2VLImageProcessorPil(
        patch_size=7, size={"shortest_edge": PATCHES[0] * 49, "longest_edge": PATCHES[1] * 49}
    )
    return made


def inputs_of(pair, talks, paths):
    """Their inputs, as their processor makes them."""
    seen = [one for row in pictures.opened(talks, paths) for one in row]
    made = pair.processor(seen, return_tensors="pt")
    counts, texts = iter((made["image_grid_thw"].prod(1) // 4).tolist()), []
    for talk in talks:
        parts = (
            "<|vision_start|>" + "<|image_pad|>" * next(counts) + "<|vision_end|>"
            if isinstance(part, int)
            else part
            for part in talk
        )
        texts.append(FORM.format("".join(parts)))
    rows = pair.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    ids = rows["input_ids"]
    kinds = (ids == pair.image).int()
    named = {k: made[k] for k in ("pixel_values", "image_grid_thw")}
    return {"input_ids": ids, "attention_mask": rows["attention_mask"], **named,
            "mm_token_type_ids": kinds}  # fmt: skip


@pytest.mark.parametrize("name", pictures.TALKS)
def test_equals_transformers(kit, pair, paths, name):
    talks = pictures.TALKS[name]
    batch, inputs = pictures.batch_of(pair, talks, paths), inputs_of(pair, talks, paths)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    x = torch.cat([x[:n, :-3] for x, n in zip(*batch.media["image"], strict=True)])
    theirs = inputs["pixel_values"].unflatten(1, (3, 2, -1))
    torch.testing.assert_close(x, theirs[:, :, 0].flatten(1), atol=1e-5, rtol=0)
    kit.check(pair, batch, inputs, positions=False)


def test_rows_do_not_depend_on_each_other(pair, paths):
    """Batch = single, beams = rows side by side."""
    talks = pictures.TALKS["padding"]
    both = pictures.batch_of(pair, talks, paths)
    whole = pair.ours(dataclasses.replace(both, labels=both.ids))
    for row, talk in enumerate(talks):
        one = pictures.batch_of(pair, [talk], paths)
        alone = pair.ours(dataclasses.replace(one, labels=one.ids)).logits
        mine = whole.logits[whole.places[0] == row]
        torch.testing.assert_close(mine, alone, atol=1e-4, rtol=0)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
