"""Llama 3.2 Vision (Mllama): tiles through an encoder of its own, gated cross-attention in the LLM.

Departures: text before the first picture sees nothing, as in Meta's own code; in transformers it
attends to all pictures of its row, their missing tiles among them, and only the perceptron is
masked. Where text begins with the picture, or has none, both are the same.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?vision_model\.": "branch.image.encoder.model.",
    r"(?:model\.)?multi_modal_projector\.": "branch.image.adapter.mlp.0.",
    **_shared.LLM,
}
IGNORE = ()
LOUD = r"vision.*"


def tables(config) -> dict:
    """Give the preset's tables of a MllamaConfig."""
    vision, text = config.vision_config, config.text_config
    return {
        "branch": {
            "image": {
                "frontend": {
                    "name": "mllama",
                    "size": vision.image_size,
                    "patch": vision.patch_size,
                    "most_tiles": vision.max_num_tiles,
                },
                "encoder": {"name": "mllama", "config": _shared.fields(vision)},
                "adapter": {"name": "mlp", "layers": 1, "norm": "none"},
            }
        },
        "fusion": {"name": "cross_attention", "inside": True, "sees": "run"},
        "llm": {
            "config": _shared.llm(text, text.tie_word_embeddings),
            "pad_token": config.image_token_index,
        },
        "chat": {
            "bos": True,
            "system": "<|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
            "user": "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "assistant": "{}<|eot_id|>",
        },
        "task": {"name": "qa"},
        "phase": _shared.tune(1e-5, "branch.image.*", "llm.*cross_attn*"),
    }
