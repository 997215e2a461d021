"""Whether a model folder is whole: its facts, and a digest of each of its files.

`checkpoint.json` is written last and names every other file of the folder with its digest, so that
one cut short, changed or lost is found before anything is read from it. Folders of older versions
have no digests; of their tensors only the headers can be checked, which shows where one is cut.
"""

import functools
import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open

from speechllm import files

FACTS = "checkpoint.json"
_log = logging.getLogger(__name__)


def facts(folder: Path) -> dict:
    """Read `checkpoint.json`: "trained", "files" (the digests), and what its writer added.

    Raises:
        ValueError: the folder is not one of ours, or the file is damaged; names it.
    """
    path = Path(folder) / FACTS
    try:
        values = files.read_json(path)
        for patterns in files.entry(values, "trained", list, str(path)):
            for pattern in files.expect(patterns, list, f"{path}: 'trained'"):
                files.expect(pattern, str, f"{path}: 'trained'")
        for digest in files.expect(values.get("files", {}), dict, f"{path}: 'files'").values():
            files.expect(digest, str, f"{path}: 'files'")
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a checkpoint of speechllm: {error}") from None
    return values


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file below a folder, by its path from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    return {n: files.digest(p) for n, p in zip(names, paths, strict=True) if n != FACTS}


def verify(folder: Path) -> None:
    """Refuse a folder of which a file is damaged or missing.

    Raises:
        ValueError: names the file.
    """
    folder = Path(folder)
    known = facts(folder).get("files")
    if known is None:
        for file in sorted(folder.glob("*.safetensors")):
            _header(file)
        return
    for name, digest in known.items():
        path = folder / name
        try:
            status = path.stat()
            # size and time are in the key: a file that was replaced is read anew
            now = _digest(path.absolute(), status.st_size, status.st_mtime_ns)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
        if now != digest:
            raise ValueError(
                f"{path}: damaged, or changed since it was written (if that was meant, take its "
                f"line out of 'files' in {FACTS})"
            )


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    """Digest of a file of this size and time of change: large ones are read once a process."""
    return files.digest(path)


def _header(file: Path) -> None:
    try:
        with safe_open(file, "pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: cut short or no safetensors: {error}") from None


def newest(folders: list[Path]) -> Path:
    """Return the last of these folders that is whole; each later one is said to be passed over.

    Raises:
        ValueError: none is; says what is wrong with the last.
    """
    wrong = []
    for folder in reversed(folders):
        try:
            verify(folder)
        except ValueError as error:
            wrong.append(str(error))
            continue
        for fault in wrong:  # known only now which folder is taken in their place
            _log.warning("%s; taken instead: %s", fault, folder)
        return folder
    where = folders[-1].parent
    raise ValueError(f"{wrong[0]}; {where} has no other: remove it to train that phase again")
