"""LoRAs of a published checkpoint, in the files that peft writes, on their way into ours.

A family says which there are, in a function beside its tables:

    loras(config)  {our name: (folder below the checkpoint, kinds of media that it is for, kinds
                   beside which it takes no part)}

Rank and scale come from adapter_config.json, targets from the tensors themselves: what a pattern
there was meant to match, they say.
"""

import re
from pathlib import Path

from speechllm import files
from speechllm.models.hub import one_line
from speechllm.models.shards import Shards

FILE = "adapter_model.safetensors"
# peft's own prefix is not there where somebody has taken the LoRA out of a checkpoint
NAME = re.compile(r"lora\.(\w+)\.(?:base_model\.model\.)?(.+)\.(lora_[AB])\.weight")
# settings that change what a LoRA computes, and how they must stand for ours to be the same
PLAIN = {
    "bias": ("none",),
    "use_rslora": (False, None),
    "use_dora": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
    "layers_to_transform": ([], None),
}


def table(folder: Path, shards: Shards, loras: dict[str, tuple]) -> dict:
    """Give `[llm.lora]`, one table a LoRA, and open their files in `shards`.

    Raises:
        ValueError: files that are not there, a LoRA of a kind that we do not have.
    """
    tables = {}
    for name, (place, media, without) in loras.items():
        settings = _settings(folder / place / "adapter_config.json")
        shards.add(str(Path(place) / FILE), f"lora.{name}.")
        parts = [NAME.fullmatch(key) for key in shards.names() if key.startswith(f"lora.{name}.")]
        targets = sorted({part[2].rsplit(".", 1)[-1] for part in parts if part})
        tables[name] = {
            "r": settings["r"],
            "alpha": float(settings["lora_alpha"]),
            "dropout": float(settings.get("lora_dropout", 0.0)),
            "targets": targets,
            "media": list(media),
            **({"without": list(without)} if without else {}),
        }
    return tables


def _settings(file: Path) -> dict:
    try:
        settings = files.read_json(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: its LoRA cannot be read: {one_line(error)}") from None
    for key, allowed in PLAIN.items():
        if settings.get(key, allowed[0]) not in allowed:
            raise ValueError(f"{file}: wanted {key} {allowed[0]!r}, got {settings[key]!r}")
    return settings


def split(name: str) -> tuple[str, str]:
    """Split a published name into the part that a family renames and what we put after it."""
    lora = NAME.fullmatch(name)
    return (lora[2] + ".", f"{lora[3]}.{lora[1]}.weight") if lora else (name, "")
