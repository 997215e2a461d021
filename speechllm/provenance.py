"""What stands beside every number: command, commit, hardware, versions, time, memory."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

from speechllm import files

try:
    import resource
except ImportError:  # Windows
    resource = None


def commit() -> str:
    """Return the short commit of the checkout (with + when it was changed), else the version."""
    root = Path(__file__).parent.parent

    def git(*words):
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=7", "HEAD")
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "speechllm", "features"
        )
    except OSError:
        head = changed = ""
    return head + ("+" if changed else "") or "v" + importlib.metadata.version("speechllm")


def code() -> str:
    """Digest of all code of the project, as it lies on this disk."""
    root = Path(__file__).parent.parent
    rooms = ("features", "speechllm")
    paths = sorted(path for room in rooms for path in root.glob(f"{room}/**/*.py"))
    names = (f"{path.relative_to(root).as_posix()} {files.digest(path)}" for path in paths)
    return files.digest("\n".join(names).encode())


def hardware() -> str:
    """Name the processor, the number of cores in use, memory, and GPUs if torch is loaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch = sys.modules.get("torch")
    gpus = torch.cuda.device_count() if torch else 0
    names = [torch.cuda.get_device_name(i) for i in range(gpus)]
    return ", ".join([_processor(), f"{cores} cores", *_memory(), *names])


def _memory() -> list[str]:
    """Name the size of memory, where it can be found out."""
    if hasattr(os, "sysconf"):
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    elif system := _psutil():
        size = system.virtual_memory().total
    else:
        return []
    return [f"{size / 2**30:.0f} GiB"]


def _psutil():
    """Give the module for systems without Python's own, None where it is not usable."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8", "replace").split("\n"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process and of any child of it, in MB.

    Where the system keeps no such record of children (Windows), of this process alone; 0 where it
    keeps none.
    """
    if resource is None:
        system = _psutil()
        return getattr(system.Process().memory_info(), "peak_wset", 0) / 1e6 if system else 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    own, children = (
        resource.getrusage(kind).ru_maxrss * unit / 1e6
        for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(_high_water_mb() or own, children)


def _high_water_mb() -> float:
    """Return the largest resident memory since this program began, in MB; 0 where it is not known.

    Linux hands `ru_maxrss` on over exec: a process that a large one starts would never be small.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0.0
    sizes = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(next(sizes, "0")) * 1024 / 1e6


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    numbers = {"python": platform.python_version()}
    for package in ("torch", "transformers", "peft", "numpy", "soundfile", "accelerate"):
        try:
            numbers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return numbers


def facts(**more) -> dict:
    """Collect all of the above, and `more`."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "speechllm")  # as `python -m` calls it
    command = shlex.join([program, *sys.argv[1:]])
    return {
        "command": command,
        "commit": commit(),
        "hardware": hardware(),
        "versions": versions(),
        "peak_memory_mb": round(peak_memory_mb()),
        "date": time.strftime("%Y-%m-%d"),
        **more,
    }
