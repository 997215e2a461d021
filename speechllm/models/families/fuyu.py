"""Fuyu (adept.ai/blog/fuyu-8b): patches of 30 pixels, one Linear, Persimmon; no image encoder.

A row of patches ends in the LLM's own token |NEWLINE|; the text follows after <s>.

Departures: of several pictures in a prompt each is followed by <s>; Fuyu knows one, before all
text. Boxes and points are text like any other: their coordinates are not scaled to the picture.
"""

from speechllm.models.families import _shared

RENAME = {r"(?:model\.)?vision_embed_tokens\.": "branch.image.encoder.linear.", **_shared.LLM}
IGNORE = ()
MARK = "|NEWLINE|"


def tables(config) -> dict:
    """Give the preset's tables of a FuyuConfig."""
    text = config.text_config
    return {
        "branch": {
            "image": {
                "frontend": {"name": "fuyu", "newline": True, "patch": config.patch_size},
                "encoder": {
                    "name": "patches",
                    "dim": text.hidden_size,
                    "patch": config.patch_size,
                    "channels": config.num_channels,
                    "last": True,
                },
                "adapter": {"name": "rows", "layers": 0, "mark": MARK, "norm": "none"},
            }
        },
        "fusion": _shared.INTERLEAVE,
        "llm": {
            "config": _shared.llm(text, config.tie_word_embeddings),
            "pad_token": config.image_token_id,
        },
        "chat": {
            "bos": False,
            "user": "{}<0x04>",
            "assistant": "{}|ENDOFTEXT|",
            "medium": "{}<s>",
        },
        "task": {"name": "qa"},
        "phase": _shared.tune(2e-5, "branch.*", "llm.*"),
    }
