"""Files written whole or not at all, and digests that say which file a score came from."""

import hashlib
import os
from pathlib import Path


def save(path: Path, text: str) -> None:
    """Write a text file by way of a temporary one, so that a full disk leaves the old one whole.

    Raises:
        ValueError: it cannot be written; nothing half-written is left.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from error


def digest(path: str | Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
