"""BLIP-2 (arXiv 2301.12597): a frozen ViT, a Q-Former of 32 queries, a frozen decoder (OPT).

The Q-Former reads all states of the ViT, its class token's first; the soft tokens stand before all
text, and the LLM's first token (OPT: </s>) behind them.

Departures: none from transformers'. Left out: LLMs with an encoder of their own (Flan-T5), and the
heads for matching and retrieval.
"""

from speechllm.models.families import _shared

RENAME = {
    r"vision_model\.": "branch.image.encoder.model.",
    r"query_tokens": "branch.image.adapter.queries.query",
    r"qformer\.": "branch.image.adapter.queries.qformer.",
    r"language_projection\.": "branch.image.adapter.linear.",
    **_shared.LLM,
}
IGNORE = ()
LOUD = r"vision.*"


def tables(config) -> dict:
    """Give the preset's tables of a Blip2Config.

    Raises:
        ValueError: an LLM with an encoder, a Q-Former that ours is not, no placeholder.
    """
    vision, queries = config.vision_config, config.qformer_config
    if not config.use_decoder_only_language_model:
        family = config.text_config.model_type
        raise ValueError(f"wanted an LLM that is a decoder alone, such as OPT, got {family!r}")
    if queries.encoder_hidden_size != vision.hidden_size:
        raise ValueError(f"wanted a Q-Former that reads the ViT's width {vision.hidden_size}, got "
                         f"encoder_hidden_size {queries.encoder_hidden_size}")  # fmt: skip
    if queries.intermediate_size != 4 * queries.hidden_size or queries.use_qformer_text_input:
        raise ValueError(
            "wanted a Q-Former of queries alone, with intermediate_size 4 * hidden_size, got "
            f"intermediate_size {queries.intermediate_size}, use_qformer_text_input "
            f"{queries.use_qformer_text_input}"
        )
    if config.image_token_index is None:
        raise ValueError("config.json says no image_token_index: wanted a newer revision of it")
    return {
        "branch": {"image": _image(config)},
        "fusion": _shared.INTERLEAVE,
        "llm": {
            "config": _shared.llm(config.text_config, config.text_config.tie_word_embeddings),
            "pad_token": config.image_token_index,
        },
        "chat": {
            "bos": False,
            "user": "{} Answer:",
            "assistant": " {}\n",
            "medium": "{}</s>Question: ",
        },
        "task": {"name": "qa"},
        "phase": _shared.tune(1e-4, "branch.image.adapter.*"),
    }


def _image(config) -> dict:
    """Give the branch of pictures."""
    vision, queries = config.vision_config, config.qformer_config
    tile = {"size": vision.image_size, "patch": vision.patch_size}
    encoder = {"name": "vit", "family": "blip2", "token": "keep"}
    adapter = {
        "name": "qformer",
        "queries": config.num_query_tokens,
        "hidden": queries.hidden_size,
        "heads": queries.num_attention_heads,
        "layers": queries.num_hidden_layers,
        "cross_every": queries.cross_attention_frequency,
        "norm": "none",
    }
    return {
        "frontend": {"name": "clip", "fit": "stretch", **tile},
        "encoder": {**encoder, "config": _shared.fields(vision)},
        "adapter": adapter,
    }
