"""FastConformers as NeMo itself publishes them (Canary, Parakeet): config and names of weights.

A folder of safetensors whose config.json holds NeMo's own tables, such as nvidia/canary-qwen-2.5b,
or what `speechllm import X.nemo --convert --out DIR` makes of an archive. transformers has the same
encoder under other names.
"""

from pathlib import Path

from speechllm import files

# NeMo's names -> those of transformers' ParakeetEncoder; the first takes off the model around it
RENAME = {
    r"^(perception\.)?encoder\.": "",
    r"pre_encode\.conv\.": "subsampling.layers.",
    r"pre_encode\.out\.": "subsampling.linear.",
    r"\.conv\.batch_norm\.": ".conv.norm.",
    r"\.linear_([qkv])\.": r".\1_proj.",
    r"\.linear_out\.": ".o_proj.",
    r"\.linear_pos\.": ".relative_k_proj.",
    r"\.pos_bias_([uv])$": r".bias_\1",
}
LEFT_OVER = (r"(perception\.)?(preprocessor|modality_adapter|proj|pos_enc)\b", r"pos_enc\.")
LEFT_OVER += (r"(llm|embed_tokens|lm_head|decoder|joint|ctc_decoder|transf_\w+|log_softmax)\b",)
FIELDS = {
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "feat_in": "num_mel_bins",
    "conv_kernel_size": "conv_kernel_size",
    "subsampling_factor": "subsampling_factor",
    "subsampling_conv_channels": "subsampling_conv_channels",
    "pos_emb_max_len": "max_position_embeddings",
    "xscaling": "scale_input",
}
# what ours is, where NeMo knows several; a table that leaves one out means its first value here
WANTED = {
    "self_attention_model": ("rel_pos",),
    "conv_norm_type": ("batch_norm",),
    "subsampling": ("dw_striding",),
    "att_context_style": ("regular",),
    "causal_downsampling": (False,),
    "conv_context_size": (None,),
    "reduction": (None,),
    "untie_biases": (True,),
}
SILENT = ("_target_", "dropout", "dropout_emb", "dropout_att", "dropout_pre_encoder", "feat_out")
SILENT += ("reduction_position", "reduction_factor", "stochastic_depth_drop_prob")
SILENT += ("stochastic_depth_mode", "stochastic_depth_start_layer", "att_context_size")
SILENT += ("ff_expansion_factor", "use_bias", "use_pytorch_sdpa", "sync_max_audio_length")
SILENT += ("use_pytorch_sdpa_backends",)


def fields(pretrained: str) -> dict | None:
    """Give the fields of a ParakeetEncoderConfig that a folder's NeMo tables ask for, or None.

    None: `pretrained` is no folder, or its config.json is not NeMo's.

    Raises:
        ValueError: an encoder that is no FastConformer as ours; a config.json that is damaged.
    """
    file = Path(pretrained) / "config.json"
    if not file.is_file():
        return None
    whole = files.read_json(file)
    around = whole.get("perception", whole)
    table = around.get("encoder") if isinstance(around, dict) else None
    if not isinstance(table, dict) or "d_model" not in table or "feat_in" not in table:
        return None
    _check(table, file)
    known = [name for name in FIELDS if table.get(name) is not None]
    settings = {FIELDS[name]: table[name] for name in known}
    settings["intermediate_size"] = table["d_model"] * table.get("ff_expansion_factor", 4)
    bias = table.get("use_bias", True)
    settings |= {"attention_bias": bias, "convolution_bias": bias, "layerdrop": 0.0}
    if settings.get("subsampling_conv_channels") == -1:
        settings["subsampling_conv_channels"] = table["d_model"]
    return settings


def _check(table: dict, file: Path) -> None:
    """Refuse what this encoder does not compute.

    Raises:
        ValueError: names the setting.
    """
    wrong = [
        f"{key} {table[key]!r}, wanted {known[0]!r}"
        for key, known in WANTED.items()
        if key in table and table[key] not in known
    ]
    window = table.get("att_context_size")
    if window not in (None, [-1, -1]):
        wrong.append(f"att_context_size {window!r}, wanted [-1, -1]")
    known = (*FIELDS, *WANTED, *SILENT)
    wrong += [f"{key} {value!r}, which is not known here" for key, value in table.items()
              if key not in known and value not in (None, False)]  # fmt: skip
    if wrong:
        raise ValueError(f"{file}: its encoder is another than a FastConformer: {'; '.join(wrong)}")
