"""What several families have in common: fields of configurations, names of weights, phases."""

# Of a text model's configuration: what says nothing about its computation, or is set elsewhere.
NOT_OURS = (
    "architectures dtype torch_dtype transformers_version use_cache bos_token_id eos_token_id "
    "pad_token_id _name_or_path"
).split()
# Published names of the parts, as transformers writes them today and as it once did.
LLM = {
    r"(?:language_model\.)?lm_head\.": "llm.lm_head.",
    r"(?:model\.)?language_model\.(?:model\.)?": "llm.model.",
}
TOWER = {r"(?:model\.)?audio_tower\.": "encoder.model."}
INTERLEAVE = {"name": "interleave"}
CHATML = {
    "bos": False,
    "opening": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    "system": "<|im_start|>system\n{}<|im_end|>\n",
    "user": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "assistant": "{}<|im_end|>\n",
}


def llm(text, tied: bool = False) -> dict:
    """Give `[llm] config` of a text model's configuration: what differs from its family's own.

    tied: whether the output layer is the embeddings; a text model inside another does not say.
    """
    known = type(text)().to_dict()  # files carry what transformers itself makes nothing of
    fields = {k: v for k, v in plain(text.to_diff_dict(), NOT_OURS).items() if k in known}
    return {"model_type": text.model_type, **fields, "tie_word_embeddings": tied}


def fields(config) -> dict:
    """Give a table of a part's configuration: what differs from its class's defaults."""
    known = type(config)().to_dict()  # files carry what transformers itself makes nothing of
    made = plain(config.to_diff_dict(), ("model_type", *NOT_OURS))
    return {key: value for key, value in made.items() if key in known}


def plain(fields: dict, without=()) -> dict:
    """Give fields as TOML can hold them: without None, and without those named."""
    kept = {k: v for k, v in fields.items() if v is not None and k not in without}
    return {k: plain(v) if isinstance(v, dict) else v for k, v in kept.items()}


def whisper(audio, **settings) -> dict:
    """Give an encoder table for a configuration with the fields of Whisper's encoder.

    Raises:
        ValueError: it scales or drops what ours does not.
    """
    if audio.scale_embedding or audio.activation_function != "gelu":
        raise ValueError(
            "this encoder scales its input or has another activation than gelu; "
            f"got scale_embedding {audio.scale_embedding}, {audio.activation_function!r}"
        )
    fields = {
        "num_mel_bins": audio.num_mel_bins,
        "d_model": audio.d_model,
        "encoder_layers": audio.encoder_layers,
        "encoder_attention_heads": audio.encoder_attention_heads,
        "encoder_ffn_dim": audio.encoder_ffn_dim,
        "max_source_positions": audio.max_source_positions,
    }
    return {"name": "whisper", **settings, "config": fields}


def log_mel(audio, **options) -> dict:
    """Give the front end of a Whisper-like encoder: its mel bands in windows of its length."""
    seconds = audio.max_source_positions / 50
    return {"name": f"whisper{_bands(audio)}", "pad_to_s": seconds, **options}


def _bands(audio) -> int:
    if audio.num_mel_bins not in (80, 128):
        raise ValueError(f"wanted 80 or 128 mel bands, got {audio.num_mel_bins}")
    return audio.num_mel_bins


def tune(lr: float, *train: str) -> list[dict]:
    """Give one phase that trains on: whatever `train` names, by language modelling."""
    return [
        {
            "name": "tune",
            "train": list(train),
            "objectives": {"language_modelling": {}},
            "lr": lr,
            "warmup_steps": 100,
            "steps": 1000,
        }
    ]
