"""TOML to typed configuration: the folder is the registry.

`name = "conv"` in a preset's `[adapter]` table *is* `speechllm/models/adapters/conv.py`: its frozen
dataclass `Config` says which settings exist, of which type and with which default. Nothing is
registered anywhere; a new part is a new file. Wrong words are answered with the near ones.
"""

import copy
import dataclasses
import importlib
import math
import tomllib
import types
import typing
from pathlib import Path

import tomli_w

from speechllm import files, nested, older, ranges
from speechllm.nested import WORDS, suggest

ROOT = Path(__file__).parent


def names(room: str) -> list[str]:
    """List the parts of a room, as "models.adapters": its files without leading underscore.

    A package that adds a folder of its own to the room's `__path__` adds the parts in it.
    """
    folders = importlib.import_module(f"speechllm.{room}").__path__
    files = (file for folder in folders for file in Path(folder).glob("*.py"))
    return sorted({f.stem for f in files if not f.stem.startswith("_")})


def file_of(room: str, name: str) -> str:
    """Give the file that a name means where one may be there twice: "ctc_tokens" is a "ctc" too."""
    known = names(room)
    return next((one for one in known if name.startswith(f"{one}_") and name not in known), name)


def part(room: str, table: dict, where: str):
    """Make the Config of the part that `table["name"]` names in `room`.

    Raises:
        ValueError: no name, a name or key that does not exist, a value of the wrong type.
    """
    return fill(_chosen(room, table, where), _settings(table), where)


def kinds(room: str, table: dict, where: str) -> None:
    """Check a part's name, and the kind and range of its settings, as `part` does; make nothing.

    For what reads a table as it stands: `part` itself may open the part's checkpoint.
    """
    check(_chosen(room, table, where), _settings(table), where)


def _chosen(room: str, table: dict, where: str):
    """Give the Config that `table["name"]` chooses."""
    name = files.expect(table, dict, where).get("name")
    if name not in names(room):
        raise ValueError(
            f"{where}: no {room} called {files.shown(name)}; {suggest(str(name), names(room))}"
        )
    return config_class(room, name)


def _settings(table: dict) -> dict:
    return {key: value for key, value in table.items() if key != "name"}


def config_class(room: str, name: str):
    """Give the class of a part's Config."""
    return importlib.import_module(f"speechllm.{room}.{name}").Config


def fill(cls, table: dict, where: str):
    """Make the dataclass `cls` from a table, each key and each type checked.

    Raises:
        ValueError: as `check`, and what `cls` itself refuses.
    """
    values = check(cls, table, where)
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check(cls, table: dict, where: str) -> dict:
    """Return the values of a table as the fields of the dataclass `cls` want them.

    Raises:
        ValueError: a key that `cls` does not have, a missing one, a value of the wrong type or
            outside the range that its annotation (`Positive`, `Share`, ...) names.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{where}: wanted a table of settings, got {files.shown(table)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in table.items():
        if key not in fields:
            raise ValueError(f"{where}: no setting called {key!r}; {suggest(key, fields)}")
        values[key] = _convert(value, hints[key], f"{where} {key}")
    for name, field in fields.items():
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise ValueError(f"{where}: {name!r} is missing")
    return values


def _convert(value, hint, where: str):
    """Check one value against its annotation; lists become tuples, whole numbers may be floats."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return args[1].check(_convert(value, args[0], where), where)
    if origin in (types.UnionType, typing.Union):
        wanted = [a for a in args if a is not type(None)]
        fits = [a for a in wanted if isinstance(value, _plain(a))]
        return None if value is None else _convert(value, (fits or wanted)[0], where)
    if dataclasses.is_dataclass(hint):
        return fill(hint, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(v, args[0], where) for v in value)
    kind = origin or hint
    if kind is float and type(value) is int and abs(value) <= ranges.LARGEST:
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"{where}: wanted {WORDS.get(kind, kind.__name__)}, got {files.shown(value)}"
        )
    if (kind is int and abs(value) > ranges.LARGEST) or (
        kind is float and not math.isfinite(value)
    ):
        raise ValueError(f"{where}: wanted a number that can be meant, got {files.shown(value)}")
    return value


def _plain(hint):
    """Give the class that values of an annotation have."""
    hint = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    return typing.get_origin(hint) or hint


@dataclasses.dataclass(frozen=True)
class Preset:
    """One system: the tables of its five nouns, of chat, task and data, and its list of phases.

    The tables stay plain; each room turns its own into a typed Config (`section`, `part`), so that
    this module knows none of them. `source` says where the preset came from, for messages.
    """

    tables: dict
    source: str = ""

    def table(self, name: str) -> dict:
        """Return one table, empty where the preset says nothing."""
        return self.tables.get(name, {})

    def section(self, name: str, cls):
        """Fill the dataclass `cls` from the table `name`."""
        return fill(cls, self.table(name), f"{self.source} [{name}]")

    def part(self, name: str, room: str):
        """Make the part that the table `name` chooses from `room`."""
        return part(room, self.table(name), f"{self.source} [{name}]")

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        return self.tables.get("seed", 0)

    @property
    def name(self) -> str:
        """Name of the preset: its file's name without the ending."""
        return self.tables.get("preset", Path(self.source).stem)

    def dump(self) -> str:
        """Write the preset as TOML; reading it back gives an equal preset."""
        return tomli_w.dumps({**self.tables, "preset": self.name})


def presets() -> dict[str, Path]:
    """Map the shipped presets' names to their files."""
    return {f.stem: f for f in sorted((ROOT / "presets").glob("*.toml"))}


def load(name_or_path, changes: typing.Iterable[str] = ()) -> Preset:
    """Read a preset by name or path and apply `changes` like `encoder.layers=4`.

    Raises:
        ValueError: no such preset, not TOML, an unknown table, a change that does not fit.
    """
    path = presets().get(str(name_or_path), Path(name_or_path))
    if not path.is_file():
        hint = suggest(str(name_or_path), presets())
        raise ValueError(f"no preset or preset file {str(name_or_path)!r}; {hint}")
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: not valid TOML: nested too deep to be meant") from None
    except ValueError as error:  # of TOML, of UTF-8, of a number of thousands of digits
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    tables = older.tables(tables, path)
    for change in changes:
        nested.change(tables, change)
    nested.check(tables, str(path))
    return Preset(tables, str(path))


def changed(preset: Preset, changes: typing.Iterable[str]) -> Preset:
    """Return a preset with `changes` like `task.way=chain`; the one given stays as it is.

    Raises:
        ValueError: a change that does not fit.
    """
    tables = copy.deepcopy({**preset.tables, "preset": preset.name})
    for change in changes:
        nested.change(tables, change)
    nested.check(tables, preset.source)
    return Preset(tables, preset.source)
