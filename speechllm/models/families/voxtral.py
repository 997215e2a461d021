"""Voxtral (arXiv 2507.13264): Whisper's encoder in windows of 30 s, four states a token, Llama.

Its processor: the wave is padded to a multiple of 30 s, its log-mel computed as a whole and then
cut into windows; all of them is seen, silence included, so audio takes 375 positions for every 30 s
that it has begun. An audio is announced by [BEGIN_AUDIO]; there is no mark after it.

Departures: its transcription mode ends the user's turn with [TRANSCRIBE] and knows no prompt; say
user = "[INST]{}[/INST][TRANSCRIBE]" and prompt = [""] in preset.toml to have that.
"""

from speechllm.models.families import _shared

RENAME = {
    **_shared.TOWER,
    r"(?:model\.)?multi_modal_projector\.linear_1\.": "adapter.mlp.0.",
    r"(?:model\.)?multi_modal_projector\.linear_2\.": "adapter.mlp.2.",
    **_shared.LLM,
}
IGNORE = ()


def tables(config) -> dict:
    """Give the preset's tables of a VoxtralConfig.

    Raises:
        ValueError: tokens that are made of another number of states than a whole one.
    """
    audio = config.audio_config
    stack, rest = divmod(audio.intermediate_size, audio.d_model)
    if rest:
        raise ValueError(
            f"wanted an intermediate_size that is a multiple of {audio.d_model}, the states' "
            f"width, got {audio.intermediate_size}"
        )
    return {
        "frontend": _shared.log_mel(audio, pad_longer="multiple", pad_counts="all"),
        "encoder": _shared.whisper(audio, window="30s"),
        "adapter": {
            "name": "mlp",
            "stack": stack,
            "activation": config.projector_hidden_act,
            "bias": False,
            "norm": "none",
        },
        "fusion": _shared.INTERLEAVE,
        "llm": {"config": _shared.llm(config.text_config), "pad_token": "[AUDIO]"},
        "chat": {
            "bos": True,
            "system": "[SYSTEM_PROMPT]{}[/SYSTEM_PROMPT]",
            "user": "[INST]{}[/INST]",
            "assistant": "{}</s>",
            "medium": "[BEGIN_AUDIO]{}",
        },
        "task": {"name": "asr", "prompt": ["Transcribe the speech."]},
        "phase": _shared.tune(1e-5, "adapter.*", "llm.*"),
    }
