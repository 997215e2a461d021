"""Presets without a download: their full shape with no weights, or a tiny form that learns.

    system = tiny.system(config.load("slam_asr_wavlm"))  # any preset; system.build() ...

`bare` takes the checkpoints away and keeps their shapes, which stand in published.toml by id, or in
a folder's own config.json: what is built on the meta device then has every parameter of the real
system. `shrink` goes on to make each width, depth and head count small by its name, the same in all
families; kernels, strides, norms, windows, queries and the chat stay, so that a tiny form computes
and counts as the real one does. What a name cannot say a preset gives in a table `[tiny.encoder]`,
`[tiny.llm.config]` ..., which is laid over the result.
"""

import copy
import dataclasses
import functools
import re
import tomllib
from pathlib import Path

from speechllm import config
from speechllm.models.alphabet import LETTERS
from speechllm.models.families import _shared
from speechllm.models.hub import read_config, read_fields
from speechllm.models.sizes import small
from speechllm.models.system import System, check

RANK = 4  # of LoRA
STEPS = 2  # of a phase
SPECIALS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SPECIAL = r"<[^<>\s]+>"  # what a chat format writes out as one token


def system(preset: config.Preset) -> System:
    """Make the tiny form of a preset: random weights, a tokenizer of bytes, no download."""
    return System(shrink(preset), tokenizer(preset))


@functools.cache
def published() -> dict:
    """Shapes of published checkpoints: id -> noun -> fields."""
    return tomllib.loads((Path(__file__).parent / "published.toml").read_text("utf-8"))


def bare(preset: config.Preset) -> config.Preset:
    """Give a preset's architecture without its checkpoints: shapes stand in the tables instead.

    Raises:
        ValueError: a checkpoint whose shape is not known here; a setting of a wrong name or kind.
    """
    check(preset)
    tables = copy.deepcopy(preset.tables)
    for table in _encoders(tables):
        _bare(table, "encoder")
    if "llm" in tables:
        _bare(tables["llm"], "llm")
    return config.Preset({**tables, "preset": preset.name}, preset.source)


def _encoders(tables: dict) -> list[dict]:
    """List the tables that name an encoder: of each medium the one, or those side by side.

    Before an encoder of videos stands that of its frames.
    """
    named = [way["encoder"] for way in _ways(tables)]
    named = [one for table in named for one in table.get("branch", [table])]
    found = [one for table in named for one in (table.get("frame"), table) if one]
    return [one for one in found if "name" in one]  # a stream may have no encoder


def _ways(tables: dict) -> list[dict]:
    """List the tables that hold an encoder and an adapter: of audio, and of further media."""
    return [way for way in (tables, *tables.get("branch", {}).values()) if "encoder" in way]


def _bare(table: dict, noun: str) -> None:
    """Put the shape of a checkpoint in the place of its id."""
    pretrained = table.pop("pretrained", "")
    if not pretrained:
        return
    shape = published().get(pretrained, {}).get(noun)
    if shape is None and Path(pretrained).is_dir():
        shape = _shape_of(pretrained, table, noun)
    if shape is None:
        known = [name for name, nouns in published().items() if noun in nouns]
        raise ValueError(
            f"the shape of {pretrained!r} as {noun} is not known without its checkpoint: name a "
            "folder that holds it, or add its line to speechllm/models/published.toml; "
            f"{config.suggest(pretrained, known)}"
        )
    if noun == "llm" or "config" in _settings(table["name"]):
        table["config"] = {**shape, **table.get("config", {})}
    else:
        table.update({**shape, **table})


def _shape_of(folder: str, table: dict, noun: str) -> dict:
    """Read the shape of a checkpoint that is at hand from its config.json.

    Raises:
        ValueError: it is not one, or of another family than the encoder's.
    """
    if noun == "llm":
        from transformers import AutoConfig

        family = read_fields(folder)["model_type"]
        whole = read_config(type(AutoConfig.for_model(family)), folder, {})
        text = whole.get_text_config()
        return _shared.llm(text, tied=whole.tie_word_embeddings)
    own = {key: value for key, value in table.items() if key in ("name", *_settings(table["name"]))}
    part = config.part("models.encoders", {**own, "pretrained": folder}, f"{folder} [encoder]")
    if hasattr(part, "hf"):
        return _shared.fields(part.hf)
    sizes = {name: field.default for name, field in _settings(table["name"]).items()}
    built = {name: getattr(part, name) for name in sizes if name != "pretrained"}
    return {name: size for name, size in built.items() if size != sizes[name]}


def _settings(encoder: str) -> dict:
    """Give the fields of an encoder's Config by name."""
    return {f.name: f for f in dataclasses.fields(config.config_class("models.encoders", encoder))}


def shrink(preset: config.Preset) -> config.Preset:
    """Make the tiny form of a preset: same parts, same lengths, small widths, two steps a phase.

    Raises:
        ValueError: as `bare`.
    """
    small = bare(preset)
    tables = small.tables
    for table in _encoders(tables):
        own = {k: v for k, v in table.items() if k == "name" or k in _settings(table["name"])}
        _shrink_part(table, config.part("models.encoders", own, "tiny encoder"))
    ways = _ways(tables)
    named = [(way["adapter"], "models.adapters") for way in ways]
    for table, room in (*named, (tables["fusion"], "models.fusion")):
        own = {key: value for key, value in table.items() if key != "lora"}
        _shrink_part(table, config.part(room, own, f"tiny {room}"))
    for table in (tables["llm"], *(way[noun] for way in ways for noun in ("encoder", "adapter"))):
        _low_rank(table)
    _shrink_llm(tables["llm"])
    for phase in tables.get("phase", []):
        phase.update(steps=STEPS, warmup_steps=0, valid_every=STEPS, gradient_accumulation=1)
    heads = [one for phase in tables.get("phase", []) for one in phase["objectives"].values()]
    for table in (*heads, *(way["adapter"] for way in ways)):
        if table.pop("pieces", 0):
            table["letters"] = LETTERS  # single bytes have no pieces
    _lay(tables, tables.pop("tiny", {}))
    return small


def _shrink_part(table: dict, part) -> None:
    """Make the sizes of a part small: its own, and those of the configuration inside it."""
    table.update(small(dataclasses.asdict(part)))
    inner = getattr(part, "hf", None) or getattr(part, "sizes", None)
    if inner is not None:
        fields = dataclasses.asdict(inner) if hasattr(part, "sizes") else inner.to_dict()
        table["config"] = {**table.get("config", {}), **small(fields)}


def _shrink_llm(table: dict) -> None:
    """Make the LLM's sizes small, its vocabulary the tokenizer's, its LoRA of low rank."""
    from transformers import AutoConfig

    settings = table["config"]
    whole = AutoConfig.for_model(**settings).to_dict()
    table["config"] = {**settings, **small(whole)}
    table["config"].pop("vocab_size", None)
    _shorten_rope(whole, table["config"])
    table.update(dtype="float32", attention="", pad_token=SPECIALS["pad_token"])


def _shorten_rope(whole: dict, made: dict) -> None:
    """Cut factors of rotary positions, one for each pair of a head's channels, to smaller heads."""
    rope = whole.get("rope_parameters") or {}
    sizes = [
        fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
        for fields in (whole, {**whole, **made})
        if any(isinstance(value, list) for value in rope.values())
    ]
    if sizes:
        keep = {k: v[: len(v) * sizes[1] // sizes[0]] if isinstance(v, list) else v
                for k, v in rope.items()}  # fmt: skip
        made.pop("rope_scaling", None)
        made["rope_parameters"] = keep


def _low_rank(table: dict) -> None:
    """Make every LoRA below a table one of low rank and the same scale."""
    for value in table.values():
        if isinstance(value, dict):
            _low_rank(value)
    if "r" in table and table["r"] > RANK:
        table.update(alpha=table.get("alpha", 32.0) * RANK / table["r"], r=RANK)


def wake(model, std: float = 0.1):
    """Let what starts at zero do something, so that it can be seen; give the model.

    LoRA's second matrix is drawn with deviation `std`, the gates of cross-attention are set to 0.5.
    """
    from torch import nn

    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=std)
        if name.endswith(("_gate", "alpha_cross_attn", "alpha_dense")):
            nn.init.constant_(parameter, 0.5)
    return model


def _lay(tables: dict, over: dict) -> None:
    """Lay the values of one nested table over another."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(tables.get(key), dict):
            _lay(tables[key], value)
        else:
            tables[key] = value


def tokenizer(preset: config.Preset):
    """Make a tokenizer of single bytes, with the special tokens that the preset's chat writes out.

    It reads any text, needs no file, and its vocabulary is the smallest there is.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    said = preset.table("chat")
    stops = said.get("stops", ())
    written = [*said.values(), *(stops if isinstance(stops, list | tuple) else ())]
    # what is no text is refused by whoever reads the chat (data/chat.py)
    chat = " ".join(text for text in written if isinstance(text, str))
    specials = dict.fromkeys([*SPECIALS.values(), *re.findall(SPECIAL, chat)])
    units = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {unit: i for i, unit in enumerate(units)}
    bytewise = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    bytewise.add_special_tokens(list(specials))
    return PreTrainedTokenizerFast(tokenizer_object=bytewise, **SPECIALS)
