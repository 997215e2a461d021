"""LLaVA-NeXT (llava-vl.github.io/blog/2024-01-30-llava-next): LLaVA 1.5 over pictures in tiles.

A picture is read as a thumbnail and as the tiles of the grid that wastes least of it; the tiles'
states are put together again, their black margins left out, and each row ends in a learned vector.

Departures: none from transformers'. The conversation is Vicuna's, or Mistral's where the LLM is of
that family; where a checkpoint was trained with another, its `[chat]` is to be changed.
"""

from speechllm.models.families import llava

RENAME = {r"(?:model\.)?image_newline": "branch.image.adapter.newline", **llava.RENAME}
IGNORE = ()
LOUD = r"(vision|image_grid).*"
MISTRAL = {
    "bos": True,
    "user": "[INST] {} [/INST]",
    "assistant": " {}</s>",
    "medium": "{}\n",
}


def tables(config) -> dict:
    """Give the preset's tables of a LlavaNextConfig.

    Raises:
        ValueError: a projector or an encoder that ours is not, a class token among the patches.
    """
    made = llava.tables(config)
    image, size = made["branch"]["image"], config.vision_config.image_size
    if image["encoder"]["token"] == "keep":
        raise ValueError("wanted vision_feature_select_strategy 'default', got 'full': with class "
                         "tokens among them the patches of tiles make no picture")  # fmt: skip
    wide = [[width // size, height // size] for height, width in config.image_grid_pinpoints]
    image["frontend"].update(fit="anyres", grids=wide)
    side = size // config.vision_config.patch_size
    image["adapter"].update(name="rows", side=side)
    if config.text_config.model_type == "mistral":
        made["chat"] = dict(MISTRAL)
    return made
