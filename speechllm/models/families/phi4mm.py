"""Phi-4-multimodal as the main branch of its repository has it, for code of its own.

The same weights as those that transformers reads (`phi4_multimodal`, which see), under other names:
the conformer's Linears, the projector, and the LLM's, which stand as `base_layer` beside the LoRAs.
The one for speech is read from the folder speech-lora, where it is once more. Names and settings
are those that transformers' script of conversion maps; the published checkpoint was not read.
"""

from speechllm.models import importing
from speechllm.models.families import phi4_multimodal
from speechllm.models.families.phi4_multimodal import AUDIO

tables, loras = phi4_multimodal.tables, phi4_multimodal.loras
LAYER = AUDIO + r"encoder\.encoders\.(\d+)\."
OURS = r"encoder.model.encoders.\1."
RENAME = {
    LAYER + r"feed_forward_(in|out)\.net\.0\.linear\.": OURS + r"feed_forward_\2.gate_up_proj.",
    LAYER + r"feed_forward_(in|out)\.net\.2\.": OURS + r"feed_forward_\2.down_proj.",
    LAYER + r"self_attn\.linear_([qkv])\.": OURS + r"self_attn.\2_proj.",
    LAYER + r"self_attn\.linear_out\.": OURS + r"self_attn.o_proj.",
    AUDIO + r"audio_projection\.speech\.": "adapter.mlp.",
    r"model\.layers\.(.+)\.base_layer\.": r"llm.model.layers.\1.",
    **phi4_multimodal.RENAME,
}
IGNORE = (
    r"model\.embed_tokens_extend\.image_embed\.",
    AUDIO + r"audio_projection\.vision\.",
    r"model\.layers\..*\.lora_[AB]\.",
)
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
    from transformers import Phi4MultimodalAudioConfig

    try:
        theirs = fields["audio_processor"]["config"]
        audio = {
            "nemo_conv_channels": theirs["nemo_conv_settings"]["conv_channels"],
            "bias_max_distance": theirs["relative_attention_bias_args"]["t5_bias_max_distance"],
            "downsample_rate": fields["embd_layer"]["audio_embd_layer"]["downsample_rate"],
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source}: config.json of a phi4mm lacks {error}") from None
    known = Phi4MultimodalAudioConfig().to_dict()
    named = {AUDIO_FIELDS.get(key, key): value for key, value in theirs.items()}
    audio |= {key: value for key, value in named.items() if key in known}
    text = {key: value for key, value in fields.items() if key not in NOT_TEXT}
    if rope := dict(text.get("rope_scaling") or {}):
        text["rope_scaling"] = {"rope_type": rope.pop("type", "longrope"), **rope}
    made = {"model_type": "phi4_multimodal", **text, "audio_config": audio}
    return importing.read(made, source)
