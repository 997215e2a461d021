"""Models of transformers that are peers of ours: the same sizes, weights and inputs."""

import functools
import importlib

import torch
import transformers
from transformers import AutoConfig, GenerationConfig, StoppingCriteria, StoppingCriteriaList

from speechllm import config
from speechllm.models import tiny
from speechllm.models.importing import renamed

FAMILIES = {"qwen2_audio": "qwen2_audio", "voxtral": "voxtral", "audio_flamingo3": "audioflamingo3"}


def make(name: str, size: str):
    """Give our preset and transformers' configuration of a family, at published or tiny size."""
    hf = AutoConfig.for_model(FAMILIES[name])
    if size == "tiny":
        parts = (hf.audio_config, hf.text_config)
        for part in parts:
            for key, value in tiny.small(part.to_dict()).items():
                setattr(part, key, value)
            part.initializer_range = 0.2  # so that answers are not one token over and over
            if getattr(part, "layer_types", None):
                part.layer_types = part.layer_types[: part.num_hidden_layers]
        if FAMILIES[name] == "voxtral":  # four states a token
            hf.audio_config.intermediate_size = 4 * hf.audio_config.d_model
    family = importlib.import_module(f"speechllm.models.families.{FAMILIES[name]}")
    tables = family.tables(hf)
    if size == "tiny":
        vocabulary = len(tiny.tokenizer(config.Preset(tables, name)))
        hf.text_config.vocab_size = vocabulary
        tables["llm"]["config"]["vocab_size"] = vocabulary
    tables["llm"]["config"].pop("dtype", None)
    return config.Preset(tables, name), hf


def build(hf, audio_id: int):
    """Make the peer; `audio_id` stands where soft tokens go."""
    hf.audio_token_id = hf.audio_token_index = audio_id
    for part in (hf, hf.text_config):
        part.bos_token_id = part.eos_token_id = part.pad_token_id = None
    name = type(hf).__name__.removesuffix("Config") + "ForConditionalGeneration"
    return getattr(transformers, name)(hf)


def share(name: str, theirs, ours) -> None:
    """Give the peer's weights to ours, by the names that the import of the family knows."""
    family = importlib.import_module(f"speechllm.models.families.{FAMILIES[name]}")
    state = {renamed(key, family.RENAME): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state)


def inputs(name: str, batch, audio_id: int) -> dict:
    """Give a batch as the family's processor would: ids, masks, log-mel in windows of 30 s."""
    unused = 0 if audio_id else 1
    ids = batch.ids.masked_fill(batch.segments == 0, unused)
    made = {
        "input_ids": ids,
        "attention_mask": batch.segments,
        "input_features": batch.media["audio"].x.transpose(1, 2).contiguous(),
    }
    frames = torch.arange(batch.media["audio"].x.shape[1], device=ids.device)
    mask = (frames < batch.media["audio"].lengths[:, None]).long()
    if name == "qwen2_audio":
        made["feature_attention_mask"] = mask
    elif name == "audio_flamingo3":
        made["input_features_mask"] = mask
    return made


@functools.cache
def _front(bands: int):
    """Make the family's front end."""
    return transformers.WhisperFeatureExtractor(feature_size=bands)


def processed(name: str, waves: list, texts: list[str], tokenizer) -> dict:
    """Do what the family's processor does with waves and texts: inputs of the peer.

    The texts hold the placeholders already, so that the chat's template is outside the clock.
    """
    encoded = tokenizer(
        texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
    )
    made = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    unused = 0 if tokenizer.pad_token_id else 1  # as in `inputs`
    made["input_ids"].masked_fill_(made["attention_mask"] == 0, unused)
    front, options = _front(128), {"sampling_rate": 16000, "return_tensors": "pt"}
    if name == "voxtral":
        options |= {"padding": True, "truncation": False, "pad_to_multiple_of": 480000}
        owner = type("Processor", (), {"feature_extractor": front})
        features = transformers.VoxtralProcessor._retrieve_input_features
        return {**made, "input_features": features(owner, waves, 3000, **options)}
    found = front(waves, padding="max_length", return_attention_mask=True, **options)
    mask = "feature_attention_mask" if name == "qwen2_audio" else "input_features_mask"
    return {**made, "input_features": found["input_features"], mask: found["attention_mask"]}


class _Bounds(StoppingCriteria):
    """Ends each row after its own number of tokens."""

    def __init__(self, bounds: list[int], before: int, device):
        self.ends = torch.tensor(bounds, device=device) + before

    def __call__(self, input_ids, scores, **_):
        return self.ends <= input_ids.shape[1]


def generate(model, made: dict, bounds: list[int], pad: int) -> list[list[int]]:
    """Give the peer's greedy answers."""
    before = made["input_ids"].shape[1]
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max(bounds), pad_token_id=pad,
        suppress_tokens=[pad],
    )  # fmt: skip
    ends = StoppingCriteriaList([_Bounds(bounds, before, made["input_ids"].device)])
    out = model.generate(**made, generation_config=settings, stopping_criteria=ends)
    return out[:, before:].tolist()
