"""Nested tables, as TOML gives them: what a preset may hold, changes by address, a flat view."""

import difflib
import tomllib

from speechllm import files, older, ranges

NOUNS = (
    "frontend encoder adapter branch fusion llm chat task search data augment parallel tiny".split()
)
KINDS = {**dict.fromkeys(NOUNS, dict), "phase": list, "seed": int, "preset": str}
WORDS = {**files.NAMES, dict: "a table", tuple: "a list"}


def suggest(word: str, known) -> str:
    """Say what was probably meant by `word`, and everything that would have been understood."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"{hint}known: {', '.join(known) or '(nothing)'}"


def check(tables: dict, where: str) -> None:
    """Refuse what is no table where a preset has one, so that all who read it may rely on that.

    Raises:
        ValueError: a name that no preset has, a value where a table is wanted, a senseless seed.
    """
    for key, value in tables.items():
        if key not in KINDS:
            raise ValueError(f"{where}: no table called {key!r}; {suggest(key, KINDS)}")
        _wanted(value, KINDS[key], f"{where} [{key}]")
    files.expect(tables.get("seed", 0), int, f"{where}: seed", 0, ranges.LARGEST)
    for phase in tables.get("phase", ()):
        _wanted(phase, dict, f"{where} [[phase]]")
    for kind, nouns in tables.get("branch", {}).items():
        _wanted(nouns, dict, f"{where} [branch.{kind}]")
        for noun, table in nouns.items():
            _wanted(table, dict, f"{where} [branch.{kind}.{noun}]")


def _wanted(value, kind: type, where: str) -> None:
    if not isinstance(value, kind):
        wanted = "entries [[phase]]" if kind is list else WORDS[kind]
        raise ValueError(f"{where}: wanted {wanted}, got {files.shown(value)}")


def change(tables: dict, wanted: str) -> None:
    """Apply one change, `table.key=value` or `phase.NAME.key=value`; the value is read as TOML.

    Raises:
        ValueError: it does not fit.
    """
    address, equals, text = older.change(wanted).partition("=")
    if not equals:
        raise ValueError(f"--set wants table.key=value, got {wanted!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    *parents, key = address.strip().split(".")
    table = tables
    for word in parents:
        if isinstance(table, list):
            table = _phase(table, word, wanted)
        else:
            table = table.setdefault(word, {})
        if not isinstance(table, dict | list):
            raise ValueError(f"--set {wanted}: {word!r} is a value, not a table")
    if isinstance(table, list):
        raise ValueError(f"--set {wanted}: wanted phase.NAME.key=value")
    table[key] = value


def _phase(phases: list, name: str, wanted: str) -> dict:
    named = {str(phase.get("name")): phase for phase in reversed(phases) if isinstance(phase, dict)}
    if name not in named:
        raise ValueError(f"--set {wanted}: no phase called {name!r}; {suggest(name, named)}")
    return named[name]


def flat(tables, where: str = "") -> dict:
    """Give the settings of nested tables by address, as `--set` names them."""
    if isinstance(tables, list) and all(isinstance(entry, dict) for entry in tables):
        names = [str(entry.get("name", place)) for place, entry in enumerate(tables)]
        if len(set(names)) < len(names):
            names = map(str, range(len(tables)))
        tables = dict(zip(names, tables, strict=True))
    if not isinstance(tables, dict) or not tables:
        return {where: tables}
    inside = (flat(value, f"{where}.{key}".lstrip(".")) for key, value in tables.items())
    return {key: value for found in inside for key, value in found.items()}
