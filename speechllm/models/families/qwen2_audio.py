"""Qwen2-Audio (arXiv 2407.10759): Whisper's encoder, pairs of states pooled, one Linear, Qwen2.

Its processor: log-mel over windows of 30 s; a frame counts when the wave has begun it; attention in
the encoder sees the states of the utterance alone, its convolutions also the silence after it. The
LayerNorm of the encoder stands after the pooling, so ours stands in the adapter. Each audio is
announced with its number.

Departures: audio above 30 s is refused, there it is cut off at 30 s; audio below 20 ms has one soft
token, there none; generation ends at <|im_end|>, there at <|endoftext|> as well.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?audio_tower\.layer_norm\.": "adapter.layer_norm.",
    **_shared.TOWER,
    r"(?:model\.)?multi_modal_projector\.linear\.": "adapter.mlp.0.",
    **_shared.LLM,
}
IGNORE = ()


def tables(config) -> dict:
    """Give the preset's tables of a Qwen2AudioConfig."""
    return {
        "frontend": _shared.log_mel(config.audio_config, pad_counts="begun"),
        "encoder": {
            **_shared.whisper(config.audio_config),
            "window": "masked",
            "final_norm": False,
        },
        "adapter": {"name": "pool", "stride": 2, "layer_norm": True, "norm": "none"},
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": _shared.llm(config.text_config), "pad_token": "<|AUDIO|>"},
        "chat": {**_shared.CHATML, "medium": "Audio {n}: <|audio_bos|>{}<|audio_eos|>\n"},
        "task": {"name": "asr", "prompt": ["Transcribe the speech."]},
        "phase": _shared.tune(1e-5, "adapter.*", "llm.*"),
    }
