"""BLIP-2: what we import equals transformers' own model on its own processor's inputs."""

import pytest
import torch
import transformers

from speechllm.models import export
from speechllm.models.families import blip_2
from tests.models.families import pictures

SIZE = 28
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIZE,
          "intermediate_size": 48, "patch_size": 14, "initializer_range": 0.1}  # fmt: skip
QUERIES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
           "intermediate_size": 96, "encoder_hidden_size": 32,
           "initializer_range": 0.2}  # fmt: skip
OPT = {"hidden_size": 48, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
       "word_embed_proj_dim": 48, "max_position_embeddings": 512, "init_std": 0.3}  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def pair(kit, tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(
        ["<image>", "</s>", "<pad>"], bos_token="</s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.padding_side = "left"
    config = transformers.Blip2Config(
        vision_config=VISION, qformer_config=QUERIES, num_query_tokens=5,
        text_config={"model_type": "opt", "vocab_size": kit.TEXT["vocab_size"], **OPT},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    model = transformers.Blip2ForConditionalGeneration(config)
    torch.nn.init.normal_(model.query_tokens)
    made = kit.imported(model, tmp_path_factory.mktemp("blip_2"), tokenizer)
    made.tokenizer = tokenizer
    made.processor = transformers.BlipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    return made


@pytest.mark.parametrize("name", pictures.ALONE)
def test_equals_transformers(kit, pair, paths, name):
    talks = pictures.ALONE[name]
    texts = ["<image>" * 5 + f"</s>Question: {talk[1]} Answer:" for talk in talks]
    inputs = pair.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    seen = [one for row in pictures.opened(talks, paths) for one in row]
    pixels = pair.processor(seen, return_tensors="pt")["pixel_values"]
    batch = pictures.batch_of(pair, talks, paths)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    torch.testing.assert_close(pictures.tiles(batch, 2, 14), pixels, atol=1e-5, rtol=0)
    named = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    kit.check(pair, batch, {**named, "pixel_values": pixels})


def test_goes_out_as_it_came(kit, pair, tmp_path):
    ids = torch.tensor([[*[pair.theirs.config.image_token_index] * 5, *range(20, 40)]])
    pixels = torch.rand(1, 3, SIZE, SIZE)
    kit.check_export(pair, tmp_path, {"input_ids": ids, "pixel_values": pixels})
    with pytest.raises(ValueError, match="int8: torchao does not read back .* 'query_tokens'"):
        export.to_transformers(pair.folder, tmp_path / "x", quantize="int8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_config": {"model_type": "t5"}}, "wanted an LLM that is a decoder alone"),
        ({"qformer_config": {"intermediate_size": 100}}, "wanted a Q-Former of queries alone"),
        ({}, "no image_token_index"),
    ],
)
def test_what_ours_is_not_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        blip_2.tables(transformers.Blip2Config(**changes))
