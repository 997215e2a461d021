"""Audio Flamingo 3 (arXiv 2507.08128): Qwen2-Audio's way of encoding, two Linears, Qwen2.

Its processor cuts audio into windows of 30 s, each as if it were alone; a frame counts when the
wave has begun it. Attention in the encoder sees the states of the utterance alone, and its
LayerNorm stands after the pooling of pairs, so ours stands in the adapter.

Departures: there a turn has one audio, put before its texts, and 10 minutes at most; here texts and
any number of audios stand as the conversation has them, however long.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?audio_tower\.layer_norm\.": "adapter.layer_norm.",
    **_shared.TOWER,
    r"(?:model\.)?multi_modal_projector\.linear_1\.": "adapter.mlp.0.",
    r"(?:model\.)?multi_modal_projector\.linear_2\.": "adapter.mlp.2.",
    **_shared.LLM,
}
IGNORE = ()


def tables(config) -> dict:
    """Give the preset's tables of an AudioFlamingo3Config.

    Raises:
        ValueError: a projector that ours is not.
    """
    if config.projector_hidden_act != "gelu" or not config.projector_bias:
        raise ValueError(
            "wanted a projector with gelu and bias, got "
            f"{config.projector_hidden_act!r}, bias {config.projector_bias}"
        )
    audio = config.audio_config
    return {
        "frontend": _shared.log_mel(audio, pad_longer="windows", pad_counts="begun"),
        "encoder": _shared.whisper(audio, window="masked", final_norm=False),
        "adapter": {"name": "pool", "stride": 2, "layer_norm": True, "layers": 2, "norm": "none"},
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": _shared.llm(config.text_config), "pad_token": "<sound>"},
        "chat": _shared.CHATML,
        "task": {"name": "asr", "prompt": ["Transcribe the input speech."]},
        "phase": _shared.tune(1e-5, "adapter.*", "llm.*"),
    }
