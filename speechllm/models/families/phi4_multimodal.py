"""Phi-4-multimodal (arXiv 2503.01743): speech and pictures, a LoRA for either, on Phi-4-mini.

Its processor: log-mel up to 7690 Hz with a Hamming window, energies below 1 (of 16-bit samples)
raised to 1; pictures as tiles of 448 pixels that cover them, and a thumbnail. The LLM is Phi-3's
architecture. The LoRA `speech` takes part with audio, `vision` where there are pictures, with or
without audio beside them, which then passes a second projector. The format is that of transformers,
with the LoRAs in the folders speech-lora and vision-lora beside the rest.

Departures: each audio is read alone; there padding changes a result (see the encoder), and audio
above 40 s in a padded batch is an error. Each example has the LoRA and the projector that are for
what it holds; there a whole batch has those that are set. Tiles are always seen in both directions
(see the encoder). Checked against transformers' classes; the chat format is the model card's. What
the repository's main branch holds, for code of its own, is the family `phi4mm`.
"""

from speechllm.models.families import _shared

AUDIO = r"model\.embed_tokens_extend\.audio_embed\."
IMAGE = r"model\.embed_tokens_extend\.image_embed\."
RENAME = {
    AUDIO + r"encoder\.": "encoder.model.",
    AUDIO + r"up_proj_for_speech\.": "adapter.first.mlp.0.",
    AUDIO + r"down_proj_for_speech\.": "adapter.first.mlp.2.",
    AUDIO + r"up_proj_for_vision_speech\.": "adapter.second.mlp.0.",
    AUDIO + r"down_proj_for_vision_speech\.": "adapter.second.mlp.2.",
    IMAGE + r"img_processor\.": "branch.image.encoder.model.",
    IMAGE + r"img_projection_up\.": "branch.image.adapter.mlp.0.",
    IMAGE + r"img_projection_down\.": "branch.image.adapter.mlp.2.",
    IMAGE + r"sub_img_feature_extensor$": "branch.image.adapter.line",
    IMAGE + r"global_img_feature_extensor$": "branch.image.adapter.between",
    r"model\.": "llm.model.",
    r"lm_head\.": "llm.lm_head.",
}
IGNORE = ()
LOUD = r"vision.*"


def tables(config) -> dict:
    """Give the preset's tables of a Phi4MultimodalConfig.

    Raises:
        ValueError: audio states put together, tiles of another size than positions were learned of.
    """
    from transformers import Phi3Config

    audio = config.audio_config
    if audio.downsample_rate != 1:
        raise ValueError(f"wanted audio downsample_rate 1, got {audio.downsample_rate}")
    known = Phi3Config().to_dict().keys() - {"model_type"}
    text = Phi3Config(**{k: v for k, v in config.to_dict().items() if k in known})
    return {
        "frontend": {
            "name": "kaldi_fbank80",
            "num_mel_bins": audio.input_size,
            "window": "hamming",
            "dither": 0.0,
            "remove_dc_offset": False,
            "low_freq": 0.0,
            "high_freq": 7690.0,
            "floor": 1.0,
        },
        "encoder": {"name": "phi4_conformer", "config": _shared.fields(audio)},
        "adapter": {"name": "mlp_pair", "beside": ["image"], "norm": "none"},
        "branch": {"image": _image(config.vision_config)},
        "fusion": _shared.INTERLEAVE,
        "llm": {
            "config": _shared.llm(text, config.tie_word_embeddings),
            "pad_token": audio.audio_token_id,
        },
        "chat": {
            "bos": False,
            "system": "<|system|>{}<|end|>",
            "user": "<|user|>{}<|end|><|assistant|>",
            "assistant": "{}<|end|>",
        },
        "task": {"name": "asr", "prompt": ["Transcribe the audio clip into text."]},
        "phase": _shared.tune(4e-5, "adapter.*", "branch.image.adapter.*", "llm.*lora_*"),
    }


def _image(vision) -> dict:
    """Give the branch of pictures."""
    if vision.image_size != vision.crop_size:
        raise ValueError(
            f"wanted vision image_size = crop_size, got {vision.image_size}, {vision.crop_size}"
        )
    tile = {"size": vision.crop_size, "patch": vision.patch_size}
    return {
        "frontend": {"name": "phi4", **tile},
        "encoder": {"name": "phi4_siglip", "config": _shared.fields(vision)},
        "adapter": {"name": "hd", "side": vision.crop_size // vision.patch_size, "norm": "none"},
    }


def loras(config) -> dict[str, tuple]:
    """Say where its LoRAs are, and which of them takes part where."""
    return {
        "speech": ("speech-lora", ("audio",), ("image",)),
        "vision": ("vision-lora", ("image",), ()),
    }
