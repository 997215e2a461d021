"""One file a medium; the folder is the registry. Each file answers the same questions:

    open(part)                   what lies in the file: a wave (N,)
    front(table, where)          the front end that a preset's table names: `dim`, `count(n)`
    frames(part, front, ...)     what the encoder reads, (x, n): from the file, or stored
    cost(part)                   how long it is, in seconds or what is worth as much: batching, the
                                 bound of an answer and the speed ask this, and nothing else
    usual(front)                 frames of an ordinary one, with which a system is tried
    faults(part, deep)           what is wrong with it: cheaply, or with all of it read
    key(part)                    what tells one from another
    nothing(front)               (x, n) of a short one in which nothing is heard or seen
    hidden(x, front)             x with nothing in it, where one frame of nothing is not all
    TIMELESS                     True where its cost does not bound what there is to say of it
    encoded(part)                whether it refers to stored states of an encoder; and if so
    states(part, front, of)      those, and of how many frames

What a medium has no use for among the last four is left out. A front end whose `random` is true
changes what it is given where `frames` gets a generator.

A part is what a message holds: {"type": "audio", "audio": "a.flac", "start": 1.5, ...}; a row of a
manifest that has a sound of its own stands for such a part.
"""

import importlib
import sys
from types import ModuleType

from speechllm import config

# words of manifests, whether this folder has their file already or not
KINDS = tuple(sorted({*config.names("media"), "audio", "image", "pose", "video"}))

# (message, hint, severity): severity is "error" or "warning"
Finding = tuple[str, str, str]


def reads(kind: str) -> bool:
    """Say whether a file of this folder answers for a medium."""
    return f"speechllm.media.{kind}" in sys.modules or kind in config.names("media")


def of(kind: str) -> ModuleType:
    """Give the file that answers for a medium.

    Raises:
        ValueError: nothing here reads it.
    """
    if not reads(kind):
        hint = config.suggest(kind, config.names("media"))
        raise ValueError(f"nothing here reads the medium {kind!r}; {hint}")
    return importlib.import_module(f"speechllm.media.{kind}")


def front_end(get, name: str | None, usual: str, table: dict, where: str):
    """Make the front end of a preset's table by `get(name, **options)`, a function of features.

    Args:
        get: makes it.
        name: which, where the table has none.
        usual: one that a table might name, for the error.
        table: of the preset.
        where: it stands.

    Raises:
        ValueError: no table, no such front end, a wrong option; says where it stands.
    """
    if not isinstance(table, dict):
        raise ValueError(f"{where}: wanted a table such as {{ name = {usual!r} }}, got {table!r}")
    options = dict(table)
    try:
        return get(options.pop("name", name), **options)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def timeless(part: dict) -> bool:
    """Say whether what there is to say of a part is not bounded by how long it is."""
    return reads(part["type"]) and getattr(of(part["type"]), "TIMELESS", False)


def encoded(part: dict) -> bool:
    """Say whether a part of a message refers to stored states, so that no encoder is needed."""
    medium = of(part["type"])
    return hasattr(medium, "encoded") and medium.encoded(part)
