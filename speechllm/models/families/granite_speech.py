"""Granite speech (arXiv 2505.08699): a conformer, windows of a Q-Former, Granite, LoRA.

Its processor: Whisper's scaling of a log-mel with HTK triangles, two frames a step, an odd last one
left out; three soft tokens for each 15 steps, the last window filled with zeros.

Departures: each audio is read alone. There padding changes a result (neither the conformer nor the
Q-Former has a mask, and the features of a padded wave differ at its end), and one audio in a batch
lets LoRA take part in every row; here a row without audio is the plain LLM's. Logits are divided by
the LLM's logits_scaling, as in Granite itself; transformers 5.23 leaves that out of this model. The
date of the usual system turn is left out. Checked against transformers' classes; tokenizer and chat
format of the published checkpoints are those of their model cards.
"""

from speechllm.models.families import _shared

RENAME = {
    r"(?:model\.)?encoder\.": "encoder.model.",
    r"(?:model\.)?projector\.query$": "adapter.queries.query",
    r"(?:model\.)?projector\.qformer\.": "adapter.queries.qformer.",
    r"(?:model\.)?projector\.linear\.": "adapter.linear.",
    **_shared.LLM,
}
IGNORE = ()
SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nYou are Granite, developed by IBM. "
    "You are a helpful AI assistant"
)


def tables(config) -> dict:
    """Give the preset's tables of a GraniteSpeechConfig."""
    encoder = config.encoder_config
    tied = {"tie_word_embeddings": config.tie_word_embeddings}  # not what text_config says of it
    return {
        "frontend": {
            "name": "torchaudio_mel",
            "n_fft": 512,
            "num_mel_bins": encoder.input_dim // 2,
            "log": "log10",
            "top_db": 80.0,
            "offset": 4.0,
            "divisor": 4.0,
        },
        "encoder": {"name": "granite_conformer", "config": _shared.fields(encoder)},
        "adapter": _projector(config),
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": _shared.llm(config.text_config) | tied, "pad_token": "<|audio|>"},
        "chat": {
            "bos": False,
            "opening": f"<|start_of_role|>system<|end_of_role|>{SYSTEM}<|end_of_text|>\n",
            "system": "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n",
            "user": "<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\n"
            "<|start_of_role|>assistant<|end_of_role|>",
            "assistant": "{}<|end_of_text|>\n",
        },
        "task": {
            "name": "asr",
            "prompt": ["can you transcribe the speech into a written format?"],
        },
        "phase": _shared.tune(1e-5, "adapter.*", "llm.*lora_*"),
    }


def loras(config) -> dict[str, tuple]:
    """Say where its LoRA is: beside the rest."""
    return {"speech": (".", ("audio",), ())} if config.has_lora_adapter else {}


def _projector(config) -> dict:
    """Give the adapter of its projector.

    Raises:
        ValueError: a Q-Former of another shape than ours can have.
    """
    hf, encoder = config.projector_config, config.encoder_config
    wanted = {
        "cross_attention_frequency": 1,
        "intermediate_size": 4 * hf.hidden_size,
        "encoder_hidden_size": encoder.hidden_dim,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    for key, value in wanted.items():
        if getattr(hf, key) != value:
            raise ValueError(f"projector_config: wanted {key} {value}, got {getattr(hf, key)}")
    return {
        "name": "window_qformer",
        "window": config.window_size,
        "queries": config.window_size // config.downsample_rate,
        "hidden": hf.hidden_size,
        "heads": hf.num_attention_heads,
        "layers": hf.num_hidden_layers,
        "dropout": float(hf.hidden_dropout_prob),
        "rest": "pad",
        "norm": "none",
    }
