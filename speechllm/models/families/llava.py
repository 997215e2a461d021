"""LLaVA 1.5 (arXiv 2310.03744): a frozen CLIP or SigLIP, two Linears, any LLM of transformers.

The states are those of one layer (CLIP: the last but one) or of several side by side, without the
class token or with it (`vision_feature_select_strategy` "default" or "full"). Its processor scales
a picture's shorter side to the encoder's size and takes the middle, as CLIP's does, or stretches
it, as SigLIP's.

Departures: the paper fills pictures up to squares, transformers cuts the middle out, and so do we
(front end `llava15` fills up). The conversation is Vicuna's; where a checkpoint was trained with
another, its `[chat]` is to be changed.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?vision_tower\.(?:vision_model\.)?": "branch.image.encoder.model.",
    r"(?:model\.)?multi_modal_projector\.linear_1\.": "branch.image.adapter.mlp.0.",
    r"(?:model\.)?multi_modal_projector\.linear_2\.": "branch.image.adapter.mlp.2.",
    **_shared.LLM,
}
IGNORE = ()
LOUD = r"vision.*"
TOWERS = {"clip_vision_model": ("clip", "clip336"), "siglip_vision_model": ("siglip", "siglip")}
VICUNA = {
    "bos": True,
    "system": "{} ",
    "opening": "",
    "user": "USER: {} ASSISTANT:",
    "assistant": " {}</s>",
    "medium": "{}\n",
}


def tables(config) -> dict:
    """Give the preset's tables of a LlavaConfig.

    Raises:
        ValueError: a projector or an encoder that ours is not.
    """
    vision, strategy = config.vision_config, config.vision_feature_select_strategy
    if vision.model_type not in TOWERS:
        raise ValueError(
            f"wanted a vision encoder of {', '.join(TOWERS)}, got {vision.model_type!r}"
        )
    if config.projector_hidden_act != "gelu":
        raise ValueError(f"wanted a projector with gelu, got {config.projector_hidden_act!r}")
    family, front = TOWERS[vision.model_type]
    if strategy == "default" and family == "siglip":
        raise ValueError("vision_feature_select_strategy 'default' takes off a patch of SigLIP's")
    layers = config.vision_feature_layer
    token = "keep" if strategy == "full" and family == "clip" else "drop"
    return {
        "branch": {
            "image": {
                "frontend": {"name": front, "size": vision.image_size, "patch": vision.patch_size},
                "encoder": {
                    "name": "vit",
                    "family": family,
                    "layers": [layers] if isinstance(layers, int) else list(layers),
                    "token": token,
                    "whole": True,
                    "config": _shared.fields(vision),
                },
                "adapter": {
                    "name": "mlp",
                    "bias": config.multimodal_projector_bias,
                    "norm": "none",
                },
            }
        },
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": _shared.llm(config.text_config), "pad_token": "<image>"},
        "chat": VICUNA,
        "task": {"name": "qa"},
        "phase": _shared.tune(2e-5, "branch.image.adapter.*", "llm.*"),
    }
