"""Qwen3-ASR (arXiv 2601.21337): an encoder of its own, two Linears, Qwen3.

Its processor: log-mel of the wave as it is, at least half a second of it; in a batch there, the
wave is padded first, which moves its last frames and the states around them, so that an answer
depends on the batch. Ours are those of an utterance alone. An empty system turn stands first (what
is put there is context, names for example), a user's turn is audio alone.

The answer begins with "language NAME<asr_text>". To force a language, as its processor does, put
that text at the end of `user` in preset.toml.

Departures: texts in a user's turn are kept, there they are dropped. The forced aligner is another
model and not imported.
"""

from speechllm.models.families import _shared

RENAME = {
    **_shared.TOWER,
    r"(?:model\.)?multi_modal_projector\.linear_1\.": "adapter.mlp.0.",
    r"(?:model\.)?multi_modal_projector\.linear_2\.": "adapter.mlp.2.",
    **_shared.LLM,
}
IGNORE = ()
# what of its configuration makes the encoder; all else is about training or attention's kernels
FIELDS = (
    "num_mel_bins encoder_layers encoder_attention_heads encoder_ffn_dim d_model n_window "
    "n_window_infer downsample_hidden_size max_position_embeddings"
).split()


def tables(config) -> dict:
    """Give the preset's tables of a Qwen3ASRConfig.

    Raises:
        ValueError: an activation that ours has not.
    """
    audio = config.audio_config
    if audio.activation_function != "gelu":
        raise ValueError(f"wanted the activation gelu, got {audio.activation_function!r}")
    frontend = {"name": f"whisper{audio.num_mel_bins}", "pad_to_s": 0.5}
    text = _shared.llm(config.text_config, tied=config.tie_word_embeddings)
    return {
        "frontend": {**frontend, "pad_longer": "keep", "pad_counts": "all"},
        "encoder": {"name": "qwen3_asr", "config": {key: getattr(audio, key) for key in FIELDS}},
        "adapter": {"name": "mlp", "hidden": audio.d_model, "norm": "none"},
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": text, "pad_token": "<|audio_pad|>"},
        "chat": {
            **_shared.CHATML,
            "opening": "<|im_start|>system\n<|im_end|>\n",
            "medium": "<|audio_start|>{}<|audio_end|>",
        },
        "task": {"name": "asr", "prompt": [""], "turn": "system", "hotwords": "{}"},
        "phase": _shared.tune(1e-5, "adapter.*", "llm.*"),
    }
