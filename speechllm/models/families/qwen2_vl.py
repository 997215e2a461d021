"""Qwen2-VL (arXiv 2409.12191): pictures of any shape, blocks of 2 x 2 states a soft token, M-RoPE.

The LLM is Qwen2 with rotary positions in three parts (fusion `interleave`, `sections`).

Departures: none from transformers'. Left out: videos.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?visual\.merger\.ln_q\.": "branch.image.adapter.before.",
    r"(?:model\.)?visual\.merger\.mlp\.": "branch.image.adapter.mlp.",
    r"(?:model\.)?visual\.": "branch.image.encoder.model.",
    r"lm_head\.": "llm.lm_head.",
    r"model\.(?:language_model\.)?": "llm.model.",
}
IGNORE = ()
LOUD = r"(?!vision_(start|end)_token_id)vision.*"


def tables(config) -> dict:
    """Give the preset's tables of a Qwen2VLConfig.

    Raises:
        ValueError: sliding windows, which differ in name.
    """
    from transformers import Qwen2Config

    vision, known = config.vision_config, Qwen2Config().to_dict().keys() - {"model_type"}
    fields = {k: v for k, v in config.text_config.to_dict().items() if k in known}
    rope = dict(fields.pop("rope_parameters"))
    sections = list(rope.pop("mrope_section", [16, 24, 24]))
    text = Qwen2Config(**fields, rope_parameters=rope)
    merge = vision.spatial_merge_size
    return {
        "branch": {
            "image": {
                "frontend": {"name": "qwen2_vl", "patch": vision.patch_size, "merge": merge},
                "encoder": {"name": "qwen2_vl", "config": _shared.fields(vision)},
                "adapter": {
                    "name": "mlp",
                    "stack": merge**2,
                    "hidden": vision.embed_dim * merge**2,
                    "input_norm": True,
                    "norm": "none",
                },
            }
        },
        "fusion": {"name": "interleave", "sections": sections},
        "llm": {
            "config": _shared.llm(text, config.tie_word_embeddings),
            "pad_token": config.image_token_id,
        },
        "chat": {**_shared.CHATML, "medium": "<|vision_start|>{}<|vision_end|>"},
        "task": {"name": "qa"},
        "phase": _shared.tune(1e-5, "branch.image.adapter.*", "llm.*"),
    }
