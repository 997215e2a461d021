"""Names of widths, depths and heads in all families, and what they are in a tiny form."""

# Names of sizes in all families of transformers and in our own Configs, and their tiny values.
SMALL = {
    32: """hidden_size n_embd d_model dim embed_dim encoder_embed_dim hidden hidden_dim
        word_embed_proj_dim attention_dim output_hidden_size classifier_proj_size
        ext_pw_out_channel depthwise_separable_out_channel""",
    64: "intermediate_size encoder_ffn_dim decoder_ffn_dim ffn_dim encoder_ffn_embed_dim ff",
    16: "num_conv_pos_embeddings conv_pos output_dim",
    8: "head_dim subsampling_channels codevector_dim proj_codevector_dim nemo_conv_channels",
    4: """num_attention_heads encoder_attention_heads decoder_attention_heads heads num_heads
        num_conv_pos_embedding_groups conv_pos_groups n_head""",
    2: "num_hidden_layers encoder_layers decoder_layers layers num_layers n_layer every num_blocks",
}
SIZES = {name: size for size, words in SMALL.items() for name in words.split()}
KV_HEADS = ("num_key_value_heads", "kv_heads")  # as many as heads, or half


def small(fields: dict) -> dict:
    """Choose the sizes among `fields` and give their tiny values; 0 (as something else) stays.

    Lists of channels, such as conv_dim, keep their length; one entry a layer is cut to the layers.
    """
    layers = fields.get("num_hidden_layers", 0)
    sizes = {}
    for name, value in fields.items():
        if name in SIZES and type(value) is int and value > SIZES[name]:
            sizes[name] = SIZES[name]
        if isinstance(value, list | tuple) and len(value) == layers > SIZES["num_hidden_layers"]:
            sizes[name] = list(value)[: SIZES["num_hidden_layers"]]
        if name == "conv_dim":
            sizes[name] = [16] * len(value)
    for name in KV_HEADS:
        heads = fields.get(name.replace("key_value", "attention").replace("kv_", ""))
        if fields.get(name) and heads:
            few = min(heads, SIZES["heads"])
            sizes[name] = few if fields[name] == heads else max(few // 2, 1)
    return sizes
