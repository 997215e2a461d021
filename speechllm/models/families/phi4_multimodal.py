"""Phi-4-multimodal, its speech part (arXiv 2503.01743): a conformer, two Linears, Phi-4-mini, LoRA.

Its processor: log-mel up to 7690 Hz with a Hamming window, energies below 1 (of 16-bit samples)
raised to 1. The LLM is Phi-3's architecture, its LoRA `speech` takes part with audio. The format is
that of transformers, with the LoRA in a folder speech-lora beside the rest.

Departures: each audio is read alone; there padding changes a result (see the encoder), and audio
above 40 s in a padded batch is an error. Left out: images, their LoRA, and the second projector
that is for speech beside images. Checked against transformers' classes; the chat format is the
model card's. What the repository's main branch holds, for code of its own, is the family `phi4mm`.
"""

from speechllm.models.families import _shared

AUDIO = r"model\.embed_tokens_extend\.audio_embed\."
RENAME = {
    AUDIO + r"encoder\.": "encoder.model.",
    AUDIO + r"up_proj_for_speech\.": "adapter.mlp.0.",
    AUDIO + r"down_proj_for_speech\.": "adapter.mlp.2.",
    r"model\.": "llm.model.",
    r"lm_head\.": "llm.lm_head.",
}
IGNORE = (r"model\.embed_tokens_extend\.image_embed\.", AUDIO + r".*_for_vision_speech\.")


def tables(config) -> dict:
    """Give the preset's tables of a Phi4MultimodalConfig."""
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
        "adapter": {"name": "mlp", "norm": "none"},
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
        "phase": _shared.tune(4e-5, "adapter.*", "llm.*lora_*speech*"),
    }


def loras(config) -> dict[str, tuple]:
    """Say where its LoRA for speech is."""
    return {"speech": ("speech-lora", ("audio",))}
