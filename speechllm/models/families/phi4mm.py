"""Phi-4-multimodal as the main branch of its repository has it, for code of its own.

The same weights as those that transformers reads (`phi4_multimodal`, which see), under other names:
the conformer's Linears, the projectors, the separators of pictures, and the LLM's, which stand as
`base_layer` beside the LoRAs. These are read from the folders speech-lora and vision-lora, where
they are once more. Names and settings are those that transformers' script of conversion maps (its
convert_phi4_multimodal_weights_to_hf.py); the published checkpoint was not read. The encoder of
pictures has the sizes of transformers' defaults there, as no config.json says them.
"""

from speechllm.models import importing
from speechllm.models.families import phi4_multimodal
from speechllm.models.families.phi4_multimodal import AUDIO, IMAGE

tables, loras = phi4_multimodal.tables, phi4_multimodal.loras
LAYER = AUDIO + r"encoder\.encoders\.(\d+)\."
OURS = r"encoder.model.encoders.\1."
RENAME = {
    LAYER + r"feed_forward_(in|out)\.net\.0\.linear\.": OURS + r"feed_forward_\2.gate_up_proj.",
    LAYER + r"feed_forward_(in|out)\.net\.2\.": OURS + r"feed_forward_\2.down_proj.",
    LAYER + r"self_attn\.linear_([qkv])\.": OURS + r"self_attn.\2_proj.",
    LAYER + r"self_attn\.linear_out\.": OURS + r"self_attn.o_proj.",
    AUDIO + r"audio_projection\.speech\.": "adapter.first.mlp.",
    AUDIO + r"audio_projection\.vision\.": "adapter.second.mlp.",
    IMAGE + r"img_projection\.": "branch.image.adapter.mlp.",
    IMAGE + r"sub_GN$": "branch.image.adapter.line",
    IMAGE + r"glb_GN$": "branch.image.adapter.between",
    r"model\.layers\.(.+)\.base_layer\.": r"llm.model.layers.\1.",
    **phi4_multimodal.RENAME,
}
LOUD = phi4_multimodal.LOUD
IGNORE = (r"model\.layers\..*\.lora_[AB]\.",)
# of the conformer's settings: theirs -> those of Phi4MultimodalAudioConfig, where they differ
AUDIO_FIELDS = {
    "attention_dim": "hidden_size",
    "attention_heads": "num_attention_heads",
    "linear_units": "intermediate_size",
    "depthwise_seperable_out_channel": "depthwise_separable_out_channel",
}
NOT_TEXT = ("audio_processor", "embd_layer", "auto_map", "speech_lora", "vision_lora", "model_type")


def read(fields: dict, source):
    """Make transformers' configuration of a config.json of theirs.

    Raises:
        ValueError: what should be in it is not; a value that does not fit.
    """
    from transformers import Phi4MultimodalAudioConfig, Phi4MultimodalVisionConfig

    try:
        theirs = fields["audio_processor"]["config"]
        audio = {
            "nemo_conv_channels": theirs["nemo_conv_settings"]["conv_channels"],
            "bias_max_distance": theirs["relative_attention_bias_args"]["t5_bias_max_distance"],
            "downsample_rate": fields["embd_layer"]["audio_embd_layer"]["downsample_rate"],
        }
        pictures = fields["embd_layer"]["image_embd_layer"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source}: config.json of a phi4mm lacks {error}") from None
    known = Phi4MultimodalAudioConfig().to_dict()
    named = {AUDIO_FIELDS.get(key, key): value for key, value in theirs.items()}
    audio |= {key: value for key, value in named.items() if key in known}
    text = {key: value for key, value in fields.items() if key not in NOT_TEXT}
    if rope := dict(text.get("rope_scaling") or {}):
        text["rope_scaling"] = {"rope_type": rope.pop("type", "longrope"), **rope}
    sizes = Phi4MultimodalVisionConfig().to_dict()
    vision = {key: value for key, value in pictures.items() if key in sizes}
    made = {"model_type": "phi4_multimodal", **text, "audio_config": audio, "vision_config": vision}
    return importing.read(made, source)
