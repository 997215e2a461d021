"""What a training is asked for: a preset, or a folder to go on from, LoRA added to it or not.

`--set llm.lora.r=8` on a folder that has no such LoRA means: keep what is there, learn the LoRA. So
the part's own weights ("llm.*") leave what its phases train and the LoRA comes in, but for phases
whose `train` is set as well.
"""

import copy
from collections.abc import Iterable
from pathlib import Path

from speechllm import config, files, older
from speechllm.models import lora, store
from speechllm.train.phases import phases

NOUNS = ("encoder", "adapter", "llm")


def read(what, changes: Iterable[str] = ()) -> tuple[config.Preset, Path | None]:
    """Read a preset by name or file, or that of a model folder, with `changes`.

    A preset's name is the preset, also where a folder is called so: `./mini` is the folder `mini`.

    Args:
        what: a preset's name, a TOML file, an experiment, a phase or a model folder.
        changes: as `config.load` takes them.

    Returns:
        the preset, and the folder whose weights it goes on from, if it is one.

    Raises:
        ValueError: neither; changes that do not fit.
    """
    if str(what) in config.presets() or not Path(what).is_dir():
        return config.load(what, changes), None
    start, changes = store.find(what), [older.change(change) for change in changes]
    before = config.load(start / "preset.toml")
    preset = config.load(start / "preset.toml", changes)
    tables = copy.deepcopy(preset.tables)
    had = {part: table.get("lora", {}) for part, table in _parts(before.tables).items()}
    for part, table in _parts(tables).items():
        if table.get("lora", {}) != had.get(part, {}):
            where = f"{preset.source} [{part}.lora]"
            table["lora"] = _apart(files.expect(table.get("lora", {}), dict, where))
            added = (
                lora.read(table["lora"], where).keys() - lora.read(had.get(part, {}), where).keys()
            )
            if added:
                phases(preset)  # a phase that is none is refused before its patterns are changed
                _learn(tables["phase"], part, sorted(added), changes)
    return config.Preset(tables, preset.source), start


def _parts(tables: dict) -> dict[str, dict]:
    """Give the tables of the parts that may have LoRA, by the place of their parameters."""
    ways = {"": tables} | {f"branch.{kind}.": way for kind, way in tables.get("branch", {}).items()}
    nouns = {f"{place}{noun}": way.get(noun) for place, way in ways.items() for noun in NOUNS}
    return {part: table for part, table in nouns.items() if table}


def _learn(entries: list[dict], part: str, added: list[str], changes: list[str]) -> None:
    """Let a part's added LoRAs learn, in place of its weights, where no change says otherwise."""
    for phase in entries:
        if not any(change.startswith(f"phase.{phase.get('name')}.train=") for change in changes):
            own = [pattern for pattern in phase["train"] if pattern != f"{part}.*"]
            phase["train"] = [*own, *(f"{part}.*lora_*.{name}.*" for name in added)]


def _apart(table: dict) -> dict:
    """Name what stands beside named LoRAs "default": those stay as they are."""
    named = {name: value for name, value in table.items() if isinstance(value, dict)}
    rest = {key: value for key, value in table.items() if key not in named}
    return {**named, lora.DEFAULT: rest} if named and rest else table
