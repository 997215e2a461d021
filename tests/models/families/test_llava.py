"""LLaVA 1.5: what we import equals transformers' own model on its own processor's inputs."""

import pytest
import torch
import transformers

from speechllm.models.families import llava
from tests.models.families import pictures

SIZE = 28
VISION = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": SIZE,
          "intermediate_size": 48, "patch_size": 14}  # fmt: skip
ASK = "USER: {} ASSISTANT:"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return pictures.make(tmp_path_factory.mktemp("pictures"))


CASES = {
    "clip": {"vision_feature_layer": -2},
    "full": {"vision_feature_layer": [-2, 1], "vision_feature_select_strategy": "full"},
    "siglip": {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, kit, tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = kit.tokenizer_of(
        ["<image>", "<s>", "</s>", "<pad>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.padding_side = "left"
    kind = "siglip_vision_model" if request.param == "siglip" else "clip_vision_model"
    config = transformers.LlavaConfig(
        vision_config={"model_type": kind, **VISION},
        text_config={"model_type": "llama", **kit.TEXT},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **CASES[request.param],
    )
    model = transformers.LlavaForConditionalGeneration(config)
    room = tmp_path_factory.mktemp(request.param)
    made = kit.imported(model, room, tokenizer)
    front = "SiglipImageProcessorPil" if kind.startswith("siglip") else "CLIPImageProcessorPil"
    size = {"height": SIZE, "width": SIZE}
    options = {"size": size} if kind.startswith("siglip") else {
        "size": {"shortest_edge": SIZE}, "crop_size": size
    }  # fmt: skip
    made.processor = getattr(transformers, front)(**options)
    made.tokens_of_one = 4 + (request.param == "full")
    made.tokenizer = tokenizer
    return made


def both(pair, talks, paths):
    """Our batch of questions with pictures, and their inputs."""
    texts = []
    for talk in talks:
        inner = "".join("<image>" * pair.tokens_of_one + "\n" if isinstance(part, int) else part
                        for part in talk)  # fmt: skip
        texts.append("<s>" + ASK.format(inner))
    inputs = pair.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    seen = [one for row in pictures.opened(talks, paths) for one in row]
    pixels = pair.processor(seen, return_tensors="pt")["pixel_values"]
    return pictures.batch_of(pair, talks, paths), {**inputs, "pixel_values": pixels}


@pytest.mark.parametrize("name", pictures.TALKS)
def test_equals_transformers(kit, pair, paths, name):
    batch, inputs = both(pair, pictures.TALKS[name], paths)
    kept = inputs["attention_mask"] > 0
    assert torch.equal(batch.segments > 0, kept)
    assert torch.equal(batch.ids[kept], inputs["input_ids"][kept])
    x = pictures.tiles(batch, 2, 14)
    torch.testing.assert_close(x, inputs["pixel_values"], atol=1e-5, rtol=0)
    kit.check(pair, batch, inputs)


def test_goes_out_as_it_came(kit, pair, tmp_path):
    kit.check_export(pair, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"projector_hidden_act": "relu"}, "wanted a projector with gelu, got 'relu'"),
        ({"vision_config": {"model_type": "vit"}}, "wanted a vision encoder of clip_vision_model"),
        ({"vision_config": {"model_type": "siglip_vision_model"}}, "takes off a patch"),
    ],
)
def test_what_ours_is_not_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        llava.tables(transformers.LlavaConfig(**changes))


def test_fields_of_the_vision_encoder_are_read():
    from speechllm.models.families._unread import unread

    published = transformers.LlavaConfig()
    published.vision_config.hidden_act = "relu"
    assert unread(published, llava.tables, llava.LOUD) == []
    assert llava.tables(published)["branch"]["image"]["encoder"]["config"]["hidden_act"] == "relu"
