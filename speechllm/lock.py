"""One writer a folder: a lock that dies with the process that holds it, and says who that is."""

import contextlib
import errno
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # of the file system
_log = logging.getLogger(__name__)
_held: set[Path] = set()  # by this process: the system's locks are between processes alone


@contextlib.contextmanager
def hold(folder: str | Path, hint: str = "wait for its end, or give another folder"):
    """Be the one process that writes into `folder`: made if absent, and gone again if left empty.

    Raises:
        ValueError: another process, which is named, or this one writes there already.
        OSError: the folder cannot be made or written.
    """
    folder = Path(folder).absolute()
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / NAME
    if path in _held:
        raise ValueError(f"{folder}: this very process writes there already; {hint}")
    with (_by_record if fcntl else _by_library)(path, folder, hint):
        _held.add(path)
        try:
            yield
        finally:
            _held.discard(path)
            with contextlib.suppress(OSError):
                path.unlink()
                if new:
                    folder.rmdir()  # refused where something was written


@contextlib.contextmanager
def _by_record(path: Path, folder: Path, hint: str) -> Iterator[None]:
    """Hold a record lock (`lockf`), which processes forked from this one do not inherit.

    So data workers that outlive a killed training by some seconds do not keep it.
    """
    file = _opened(path)
    try:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise ValueError(_refusal(folder, path, hint)) from None
                _log.warning("%s: no locks here; see that nothing else writes there", folder)
                break
            if _is_at(path, file):
                break
            file.close()  # the one before us has removed it between our opening and locking
            file = _opened(path)
        file.truncate(0)
        file.write(_self())
        file.flush()
        yield
    finally:
        file.close()


def _opened(path: Path) -> IO:
    return open(path, "a", encoding="utf-8")


def _is_at(path: Path, file: IO) -> bool:
    """Say whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _by_library(path: Path, folder: Path, hint: str) -> Iterator[None]:
    """Hold what there is elsewhere: `filelock` knows Windows, and systems without any lock."""
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(_refusal(folder, path, hint)) from None


def _self() -> str:
    """Say who holds the lock."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "speechllm")
    command = shlex.join([program, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()} since {since}: {command}\n"


def _refusal(folder: Path, path: Path, hint: str) -> str:
    try:
        holder = path.read_text(encoding="utf-8", errors="replace").strip()[:300]
    except OSError:
        holder = ""
    return f"{folder}: another run writes there ({holder or 'a process unknown'}); {hint}"
