"""Files: written whole or not at all, told apart by digests, read with care, one writer a folder.

Everything this project writes goes through `writing` (a file) or `new_folder` (a folder); what it
reads of JSON goes through `read_json` and `json_lines`, which answer with file, line and place
whatever stands there. All text is UTF-8, whatever the locale.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

DIGITS = 16  # of a digest: enough that no two files of one disk share them
UNFINISHED = "tmp"  # the ending of what is being written: `.NAME.PID.tmp`
BOM = b"\xef\xbb\xbf"
NAMES = {dict: "an object {...}", list: "a list", str: "a text", int: "a whole number"}
NAMES |= {float: "a number", bool: "true or false", type(None): "nothing"}


@contextlib.contextmanager
def writing(path: str | Path, binary: bool = False) -> Iterator[IO]:
    """Open a file (text or bytes) that takes the place of `path` only once it is whole on the disk.

    Whatever is raised meanwhile (disk full, an interrupt), what stood there before stays.

    Raises:
        OSError: it cannot be written; names `path`.
        ValueError: a text that UTF-8 cannot hold; names `path`.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        with naming(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            how = {"mode": "wb"} if binary else {"mode": "w", "encoding": "utf-8", "newline": "\n"}
            with open(temporary, **how) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder to fill that gets the name `path` only once all its files are on the disk.

    Raises:
        OSError: it cannot be written, or `path` is there already; names `path`.
    """
    path = Path(path)
    temporary = _beside(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with naming(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            for file in sorted(f for f in temporary.rglob("*") if f.is_file()):
                with open(file, "rb+") as whole:
                    os.fsync(whole.fileno())
            for inside in (temporary, *(f for f in temporary.rglob("*") if f.is_dir())):
                _sync_folder(inside)
            os.rename(temporary, path)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder; killed meanwhile, it is gone by its name, and `sweep` takes the rest."""
    doomed = _beside(path)
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `writing` does."""
    with writing(path) as file:
        file.write(text)


def write_json(path: str | Path, values: dict | list) -> None:
    """Write JSON as `writing` does."""
    write_text(path, json.dumps(values, indent=1) + "\n")


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written in a folder; for the one that holds its lock.

    Everything of `writing` and `new_folder` goes, so nobody else may be writing there.
    """
    for path in folder.glob(f".*.{UNFINISHED}"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Where a file or folder stands until it is whole."""
    return path.with_name(f".{path.name}.{os.getpid()}.{UNFINISHED}")


@contextlib.contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an error of the system name `path` (a full disk does not); those of other files pass."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: cannot be written as UTF-8: {error}") from error
    except OSError as error:
        own = error.filename is None or (temporary and temporary.name in str(error.filename))
        if error.errno is None or not own:
            raise
        raise OSError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself survive a power cut; Windows cannot open a folder, and need not."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(source: str | Path | bytes) -> str:
    """Say which file, or which bytes, these are: the first digits of the SHA-256, hexadecimal."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()[:DIGITS]
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def parse(data: bytes | str, where: str = "") -> Any:
    """Return the value that a piece of JSON holds.

    Raises:
        ValueError: no UTF-8, no JSON, too deep, a number too long: one line that begins with
            `where` and says what is wrong at which place.
    """
    start = f"{where}: " if where else ""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{start}not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{start}not JSON ({error.msg} at {line}column {error.colno})") from None
    except RecursionError:
        raise ValueError(f"{start}JSON that is nested too deep to be meant") from None
    except ValueError:  # Python reads no whole number of more than some thousand digits
        raise ValueError(f"{start}JSON with a number of thousands of digits") from None


def read_json(path: str | Path, kind: type = dict) -> Any:
    """Read a JSON file whose value is of this kind.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or its value of another kind; names the file.
    """
    return expect(parse(Path(path).read_bytes(), str(path)), kind, str(path))


def json_lines(path: str | Path, kind: type = dict, cut: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of a file of JSON lines; empty lines are passed over.

    Lines end at "\\n" alone: U+2028, U+0085 and their like may stand inside a text.

    Args:
        path: the file.
        kind: what each line holds.
        cut: pass over a last line that has no end, as a killed process leaves it.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is damaged, or of another kind; names file and line.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.removeprefix(BOM).strip() or (cut and not line.endswith(b"\n")):
                continue
            where = f"{path}:{number}"
            yield number, expect(parse(line, where), kind, where)


def expect(
    value: Any, kind: type | tuple, where: str, low: float | None = None, high: float | None = None
) -> Any:
    """Return `value` if it is of this kind and, a number, of this range.

    Args:
        value: what was read.
        kind: a type, or several. `int` takes no bool, `float` whole numbers too, but only finite.
        where: file and place, the start of the message.
        low, high: smallest and largest number, None: any.

    Raises:
        ValueError: another kind, or beyond the range.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not any(_is(value, one) for one in kinds):
        wanted = " or ".join(NAMES.get(one, one.__name__) for one in kinds)
        raise ValueError(f"{where}: wanted {wanted}, got {shown(value)}")
    if low is not None and value < low:
        raise ValueError(f"{where}: wanted at least {low}, got {shown(value)}")
    if high is not None and value > high:
        raise ValueError(f"{where}: wanted at most {high}, got {shown(value)}")
    return value


def entry(table: dict, key: str, kind: type | tuple, where: str, low=None, high=None) -> Any:
    """Return `table[key]`, checked as `expect` does.

    Raises:
        ValueError: it is missing, of another kind, or beyond the range.
    """
    if key not in table:
        raise ValueError(f"{where}: {key!r} is missing")
    return expect(table[key], kind, f"{where}: {key!r}", low, high)


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float):
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        return number and (isinstance(value, int) or math.isfinite(value))
    return isinstance(value, kind)


def shown(value: Any) -> str:
    """Show a value in a message: short, on one line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # too deep, or a number of too many digits
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
