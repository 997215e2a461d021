"""What a training that goes on has in common with the checkpoint that it goes on from."""

from pathlib import Path

from speechllm import config, nested
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer


def tokenizer(folder: Path, system: System) -> None:
    """Refuse to go on with another tokenizer: the same ids would be other words.

    Raises:
        ValueError: names the one to give.
    """
    place = folder / "tokenizer"
    if load_tokenizer(place).get_vocab() != system.tokenizer.get_vocab():
        raise ValueError(
            f"{folder} was made with another tokenizer; give --tokenizer {place}, or choose "
            "another --out"
        )


def data(folder: Path, before: dict, now: dict) -> None:
    """Refuse to go on with other manifests: the batches would be of another order.

    Raises:
        ValueError: names them.
    """
    changed = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    if changed:
        raise ValueError(
            f"{folder} was made with another manifest under --data {', '.join(changed)}; give that "
            "one, choose another --out, or add --other-data to go on with this one"
        )


def preset(folder: Path, now: config.Preset, phase: str) -> None:
    """Refuse to go on with another preset than the one that made the checkpoint.

    Phases after `phase` may differ: they have not begun.
    """
    presets = config.load(folder / "preset.toml"), now
    apart = {"preset": "", "parallel": {}, "search": {}}  # none says what is learned
    before, after = (nested.flat({**_up_to(p, phase), **apart}) for p in presets)
    differing = [
        f"{key}: {before.get(key, 'nothing')} -> {after.get(key, 'nothing')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if differing:
        raise ValueError(
            f"{folder} was made with other settings ({'; '.join(differing)}); "
            "choose another --out, or remove that folder to start again"
        )


def _up_to(preset: config.Preset, phase: str) -> dict:
    """Return a preset's tables without the phases after `phase`."""
    entries = preset.tables.get("phase", [])
    names = [entry.get("name") for entry in entries]
    last = names.index(phase) + 1 if phase in names else len(names)
    return {**preset.tables, "phase": entries[:last]}
