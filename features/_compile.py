"""Compile a C file with the system's compiler at first use, and load it.

The library lies in a cache folder of the user under a name made of the source, the compiler and the
CPU, so another version, compiler or machine makes another file. It is written under a temporary
name and then renamed: of processes that start together all compile, and one whole result stays.
Nothing here raises: `load` gives the library, or None and the reason with what to do.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = "-O3 -std=gnu11 -fPIC -shared -fno-math-errno -fno-strict-aliasing".split()
TUNING = ("-march=native", "-mcpu=native", None)  # some compilers know only one of them, or none
LIMIT_S = 120
INSTALL = "install one (Debian: apt install gcc; macOS: xcode-select --install), or set CC"


def load(source: Path) -> tuple[ctypes.CDLL | None, str]:
    """The library of the C file `source` and its place; or None, and why not with what to do."""
    try:
        compiler, target = _compiler(), _cache()
        target /= f"{source.stem}-{_key(source, compiler)}.so"
        if not target.exists():
            _compile(compiler, source, target)
        try:
            return ctypes.CDLL(str(target)), str(target)
        except OSError:  # damaged since
            _compile(compiler, source, target)
            return ctypes.CDLL(str(target)), str(target)
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        return None, " ".join(str(error).split()) or type(error).__name__


def _compiler() -> list[str]:
    """The command of the compiler, its program as a full path."""
    for command in (os.environ.get("CC"), "cc", "gcc", "clang"):
        words = shlex.split(command or "")
        program = shutil.which(words[0]) if words else None
        if program:
            return [os.path.realpath(program), *words[1:]]
    raise OSError(f"no C compiler found; {INSTALL}")


def _cache() -> Path:
    """The cache folder, made if need be; code is only loaded from where nobody else can write."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "speechllm"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise OSError(
                f"{folder}: others can write there, so no code is loaded from it; "
                "chmod go-w it, or set XDG_CACHE_HOME to a folder of your own"
            )
    return folder


def _key(source: Path, compiler: list[str]) -> str:
    """Hash of all that decides what the library is: source, flags, compiler and CPU."""
    found = os.stat(compiler[0])
    parts = (FLAGS, TUNING, compiler, found.st_size, found.st_mtime_ns, _cpu())
    return hashlib.sha256(source.read_bytes() + repr(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    """What tells this CPU's instructions from another's."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = [next(file, "") for _ in range(30)]  # the first of many equal cores
    except OSError:
        lines = [platform.processor()]
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU")
    return "".join([platform.machine(), *(line for line in lines if line.startswith(wanted))])


def _compile(compiler: list[str], source: Path, target: Path) -> None:
    handle, part = tempfile.mkstemp(suffix=".part", prefix=f".{target.stem}.", dir=target.parent)
    os.close(handle)
    try:
        for tuning in TUNING:
            command = [*compiler, *FLAGS, *filter(None, [tuning]), "-o", part, str(source)]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=LIMIT_S,
            )  # fmt: skip
            if not done.returncode:
                os.replace(part, target)
                return
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        raise RuntimeError(f"{shlex.join(command)} fails: {said[:200]}; try another compiler by CC")
    finally:
        Path(part).unlink(missing_ok=True)
