"""Mllama: what we import equals transformers' own model on its own processor's inputs."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.mllama import processing_mllama

from tests.models.families import pictures

SIZE = 28
VISION = {"hidden_size": 16, "num_hidden_layers": 3, "num_global_layers": 1, "attention_heads": 4,
          "intermediate_size": 24, "vision_output_dim": 48, "patch_size": 7, "image_size": SIZE,
          "intermediate_layers_indices": [0, 1], "initializer_range": 0.2}  # fmt: skip
HEAD = "<|start_header_id|>{}<|end_header_id|>\n\n"
BASE = {"bos": False, "user": "{}", "assistant": "{}<|eot_id|>", "medium": "{}"}
TALKS = {
    "one": [(0, "what is it?")],
    "several": [(1, "and", 2, "which?")],
    "beside": [(1, 2, "which?", 0)],
    "padding": [(0, "what is it?"), (2, 1, "the same?"), (1, "between", 0)],
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pair(kit, tmp_path_factory):
    torch.manual_seed(0)
    specials = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                "<pad>", "<|image|>"]  # fmt: skip
    tokenizer = kit.tokenizer_of(
        specials, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", pad_token="<pad>"
    )
    tokenizer.padding_side = "left"
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    text = {**kit.TEXT, "num_hidden_layers": 4, "cross_attention_layers": [1, 2],
            "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 3}  # fmt: skip
    config = transformers.MllamaConfig(
        vision_config=VISION, text_config=text, image_token_index=image
    )
    model = transformers.MllamaForConditionalGeneration(config)
    made = kit.imported(model, tmp_path_factory.mktemp("mllama"), tokenizer)
    made.tokenizer, made.image = tokenizer, image
    made.processor = transformers.MllamaImageProcessorPil(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )  # fmt: skip
    return made


def inputs_of(pair, talks, paths, form: str):
    """Their inputs; the masks are made by their own functions, of padded ids."""
    inner = ["".join("<|image|>" if isinstance(p, int) else p for p in talk) for talk in talks]
    texts = [form.format(one) for one in inner]
    made = dict(pair.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False))
    made.pop("token_type_ids", None)
    seen = pair.processor(pictures.opened(talks, paths), return_tensors="pt")
    rows = made["input_ids"].tolist()
    sparse = [processing_mllama.get_cross_attention_token_mask(row, pair.image) for row in rows]
    tiles = seen["aspect_ratio_mask"].sum(-1).tolist()
    tiles = [row[: len(one)] for row, one in zip(tiles, sparse, strict=True)]
    dense = processing_mllama.convert_sparse_cross_attention_mask_to_dense(
        sparse, tiles, max_num_tiles=4, length=len(rows[0])
    )
    kept = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
    return made | {k: seen[k] for k in kept} | {"cross_attention_mask": torch.from_numpy(dense)}


def check(kit, pair, talks, paths, form: str):
    batch, inputs = pictures.batch_of(pair, talks, paths), inputs_of(pair, talks, paths, form)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    there = inputs["aspect_ratio_mask"].bool() & (inputs["aspect_ratio_ids"] > 0)[..., None]
    wanted = inputs["pixel_values"][there]
    torch.testing.assert_close(pictures.tiles(batch, 4, 7), wanted, atol=1e-5, rtol=0)
    kit.check(pair, batch, inputs)


@pytest.mark.parametrize("name", TALKS)
def test_equals_transformers(kit, pair, paths, name, monkeypatch):
    """Text that begins with its picture, as a base model reads it."""
    monkeypatch.setitem(pair.system.preset.tables, "chat", BASE)
    check(kit, pair, TALKS[name], paths, "{}")


def test_equals_meta_s_rule(kit, pair, paths):
    """The chat, whose first words stand before the picture: they see nothing, by a hook."""
    talks = [(0, "what is it?"), ("Is", 2, "the same as", 1)]
    form = f"<|begin_of_text|>{HEAD.format('user')}{{}}<|eot_id|>{HEAD.format('assistant')}"
    ids = inputs_of(pair, talks, paths, form)["input_ids"]
    after = (ids == pair.image).cumsum(1) > 0

    def masked(module, args, kwargs, out):
        n = out[0].shape[1]
        return (out[0] * after[:, :n, None] if n > 1 else out[0]), out[1]

    layers = [m for m in pair.theirs.modules() if type(m).__name__ == "MllamaTextCrossAttention"]
    hooks = [layer.register_forward_hook(masked, with_kwargs=True) for layer in layers]
    try:
        check(kit, pair, talks, paths, form)
    finally:
        for hook in hooks:
            hook.remove()


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)


def test_grids_are_theirs():
    """The grid of a picture of any shape, and where each tile stands in it."""
    from transformers.models.mllama import image_processing_pil_mllama as theirs

    from features import patches

    front = patches.get("mllama", size=28, patch=7)
    rng = np.random.default_rng(1)
    for high, wide in [(1, 1), (1, 300), (28, 28), (29, 28), *rng.integers(1, 200, (30, 2))]:
        x, n = front(np.zeros((high, wide, 3), np.uint8))
        rows, columns = (int(x[:, i].max()) // 4 + 1 for i in (-2, -1))
        canvas = theirs.get_optimal_tiled_canvas(int(high), int(wide), 4, 28)
        assert (rows * 28, columns * 28) == tuple(canvas) and n == rows * columns * 16
