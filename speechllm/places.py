"""What a name means: a folder or file here, or something on the Hub; decided in one place.

    places.find("models/whisper")     # Path, or ValueError at once that names the near ones
    places.find("openai/whisper-base")     # None: the Hub's, and the Hub can be asked

What is there, or looks like a path, is a path: nobody waits for the Hub to hear of a typing error.
"""

import difflib
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

# owner/name, or the few names without an owner; nothing else is an id of the Hub
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?")
_FILE = re.compile(r".*\.(jsonl?|gz|parquet|toml|tsv|csv|safetensors|pt|bin|ckpt|nemo|wav|flac)")
_TIMEOUT_S = 5


def find(name: str | Path, what: str = "model", kind: str = "model") -> Path | None:
    """Return the folder or file that a name means, or None for an id of the Hub.

    what: is looked for, for messages. kind: of the Hub's, "model" or "dataset".

    Raises:
        ValueError: it looks like a path and is not there, or the Hub cannot be asked.
    """
    path = Path(name).expanduser()
    if _exists(path):
        return path
    if looks_local(str(name)):
        raise ValueError(f"{name}: no such folder or file; {near(path)}")
    if not _is_cached(str(name), kind) and not reachable():
        raise ValueError(
            f"{name}: no such folder, and the Hub, where a {what} of that name might be, cannot be "
            f"reached; {near(path, 'is there a network?')}"
        )
    return None


def looks_local(name: str) -> bool:
    """Say whether a name that is not there can only have been meant as a path."""
    if name.startswith(("/", ".", "~")) or not _ID.fullmatch(name) or _FILE.fullmatch(name):
        return True
    owner, mark, word = name.partition("/")
    # `models/whispr` beside a folder models/whisper; but a folder `openai` forbids no id.
    return bool(mark) and bool(_alike(Path(owner), word))


def reachable() -> bool:
    """Say whether the Hub's server answers; asked once, instead of half a minute of tries."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy")):
        return True  # the proxy knows
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), _TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _is_cached(name: str, kind: str) -> bool:
    from huggingface_hub import constants

    folder = f"{kind}s--{name.replace('/', '--')}"
    return (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False


def _alike(folder: Path, word: str) -> list[str]:
    try:
        there = [one.name for one in folder.iterdir()]
    except OSError:
        return []
    return difflib.get_close_matches(word, there, n=3, cutoff=0.6)


def near(path: Path, else_: str = "") -> str:
    """Say what of that name there is nearby, else what the deepest folder that is there holds."""
    home, word = path.parent, path.name
    while not _exists(home):
        home, word = home.parent, home.name
    if near := [str(home / one) for one in _alike(home, word)]:
        return f"did you mean {' or '.join(near)}?"
    if else_ or not home.is_dir():
        return else_ or f"{home} is a file"
    there = sorted(one.name for one in home.iterdir() if not one.name.startswith("."))
    shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
    return f"{home.absolute()} holds {shown or 'nothing'}"
