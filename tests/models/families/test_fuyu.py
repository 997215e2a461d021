"""Fuyu: what we import equals transformers' own model on its own processor's patches."""

import pytest
import torch
import transformers

from tests.models.families import pictures

PATCH = 10


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pair(kit, tmp_path_factory):
    torch.manual_seed(0)
    specials = ["|SPEAKER|", "|NEWLINE|", "|ENDOFTEXT|", "<s>", "<0x04>"]
    tokenizer = kit.tokenizer_of(specials, eos_token="|ENDOFTEXT|")
    text = {k: v for k, v in kit.TEXT.items() if k != "num_key_value_heads"}
    config = transformers.FuyuConfig(
        patch_size=PATCH, initializer_range=0.3, text_config={"model_type": "persimmon", **text},
        image_token_id=tokenizer.convert_tokens_to_ids("|SPEAKER|"),
    )  # fmt: skip
    model = transformers.FuyuForCausalLM(config)
    made = kit.imported(model, tmp_path_factory.mktemp("fuyu"), tokenizer)
    made.tokenizer = tokenizer
    size = {"height": PATCH, "width": PATCH}
    made.processor = transformers.FuyuImageProcessorPil(patch_size=size)
    return made


def inputs_of(pair, talks, paths, width: int):
    """Their patches of all pictures, and ids padded on the left to a width."""
    ids, patches = [], []
    for talk, row in zip(talks, pictures.opened(talks, paths), strict=True):
        made = pair.processor([row])
        high, wide = (made[f"image_unpadded_{side}s"][0][0] for side in ("height", "width"))
        rows, columns = -(-int(high) // PATCH), -(-int(wide) // PATCH)
        image = made["images"][0][0][..., : rows * PATCH, : columns * PATCH]  # as theirs does
        patches.append(torch.as_tensor(pair.processor.patchify_image(image)))
        text = ("|SPEAKER|" * columns + "|NEWLINE|") * rows + "<s>" + talk[1] + "<0x04>"
        ids.append(pair.tokenizer(text)["input_ids"])
    eos = pair.tokenizer.eos_token_id  # the placeholder would want patches
    padded = torch.tensor([[eos] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    pixels = torch.cat([one.reshape(-1, one.shape[-1]) for one in patches])[None]
    return {"input_ids": padded, "attention_mask": mask, "pixel_values": pixels.float()}


@pytest.mark.parametrize("name", pictures.ALONE)
def test_equals_transformers(kit, pair, paths, name):
    talks = pictures.ALONE[name]
    batch = pictures.batch_of(pair, talks, paths)
    inputs = inputs_of(pair, talks, paths, batch.ids.shape[1])
    kept = (batch.segments > 0) & (batch.kinds != 2)
    assert torch.equal(batch.segments > 0, inputs["attention_mask"] > 0)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    x = torch.cat([x[:n] for x, n in zip(*batch.media["image"], strict=True)])
    x = x[x[:, -1] >= 0, :-3].reshape(-1, 3, PATCH * PATCH).transpose(1, 2).flatten(1)
    torch.testing.assert_close(x, inputs["pixel_values"][0], atol=1e-5, rtol=0)
    kit.check(pair, batch, inputs)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)
