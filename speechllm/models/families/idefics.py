"""Idefics (arXiv 2306.16527), the open Flamingo: CLIP, a resampler, gated cross-attention, LLaMA.

A picture is one token, <image>, between two of <fake_token_around_image>, of which pictures side by
side share one; text sees the last picture before it. The embeddings of tokens that were added to
LLaMA's are kept apart there, here a vocabulary is one matrix.

Departures: none from transformers', but that behind a </s> inside a text nothing is seen there;
here the last picture still is. The chat is that of the checkpoint's card: turns end in
<end_of_utterance> where the tokenizer has it, else in a line's end. A turn that begins with text
wants a space before it. Of the processor only what it makes of pictures and of text counts, not
that it takes away the spaces around each text.
"""

from speechllm.models.families import _shared

RENAME = {
    r"model\.vision_model\.": "branch.image.encoder.model.",
    r"model\.perceiver_resampler\.": "branch.image.adapter.resampler.",
    r"model\.gated_cross_attn_layers\.": "fusion.layers.",
    r"model\.": "llm.model.",
    r"lm_head\.": "llm.lm_head.",
}
# constants in files of older versions
IGNORE = (r".*rotary_emb\.inv_freq$", r"model\.vision_model\.embeddings\.position_ids$")
JOINED = (
    ("model.embed_tokens.weight", "model.embed_tokens.additional_embedding.weight"),
    ("lm_head.weight", "lm_head.additional_fc.weight"),
)
LOUD = r"vision.*"
AROUND, END = "<fake_token_around_image>", "<end_of_utterance>"


def tables(config) -> dict:
    """Give the preset's tables of an IdeficsConfig."""
    learn = ("branch.image.adapter.*",) if config.use_resampler else ()
    return {
        "branch": {"image": _image(config)},
        "fusion": {
            "name": "flamingo",
            "every": config.cross_layer_interval,
            "width": config.vision_config.embed_dim,
            "head_norm": config.qk_layer_norms,
            "gate": config.alpha_type,
        },
        "llm": {"config": _llm(config), "pad_token": "<image>"},
        "chat": {
            "bos": True,
            "medium": f"{AROUND}{{}}{AROUND}",
            "next_medium": f"{{}}{AROUND}",
            "user": "User:{}\nAssistant:",
            "assistant": " {}\n",
        },
        "task": {"name": "qa"},
        "phase": _shared.tune(1e-5, *learn, "fusion.*", "llm.*"),
    }


def chat(tokenizer) -> dict:
    """Give the text around turns where the tokenizer has a token for their end."""
    if END not in tokenizer.get_vocab():
        return {}
    return {"user": f"User:{{}}{END}\nAssistant:", "assistant": f" {{}}{END}\n"}


def _image(config) -> dict:
    """Give the branch of pictures; the encoder is CLIP's with another activation."""
    from transformers import CLIPVisionConfig

    vision, perceiver = config.vision_config, config.perceiver_config
    shared = CLIPVisionConfig().to_dict().keys() & vision.to_dict().keys() - {"model_type"}
    sizes = {key: getattr(vision, key) for key in shared}
    clip = CLIPVisionConfig(hidden_size=vision.embed_dim, **sizes)
    adapter = {
        "name": "flamingo",
        "latents": perceiver.resampler_n_latents,
        "layers": perceiver.resampler_depth,
        "heads": perceiver.resampler_n_heads,
        "head_dim": perceiver.resampler_head_dim,
        "head_norm": perceiver.qk_layer_norms_perceiver,
        "norm": "none",
    }
    return {
        "frontend": {
            "name": "clip",
            "fit": "stretch",
            "size": vision.image_size,
            "patch": vision.patch_size,
        },
        "encoder": {
            "name": "vit",
            "family": "clip",
            "token": "keep",
            "whole": True,
            "config": {**_shared.fields(clip), "hidden_act": vision.hidden_act},
        },
        "adapter": adapter
        if config.use_resampler
        else {"name": "mlp", "layers": 0, "norm": "none"},
    }


def _llm(config) -> dict:
    """Give the LLM: LLaMA, its vocabulary and what was added to it in one."""
    from transformers import LlamaConfig

    known = LlamaConfig().to_dict().keys() & config.to_dict().keys()
    fields = {key: getattr(config, key) for key in known - {"model_type", "dtype"}}
    fields["vocab_size"] += config.additional_vocab_size
    return _shared.llm(LlamaConfig(**fields), config.tie_word_embeddings)
