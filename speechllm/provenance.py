"""What stands beside every number: command, commit, hardware, versions, time, memory."""

import importlib.metadata
import os
import platform
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path


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


def hardware() -> str:
    """Name the processor, the number of cores in use, memory, and GPUs if torch is loaded."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    torch = sys.modules.get("torch")
    gpus = torch.cuda.device_count() if torch else 0
    names = [torch.cuda.get_device_name(i) for i in range(gpus)]
    return ", ".join([f"{model}, {cores} cores, {memory:.0f} GiB", *names])


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process and of any child of it, in MB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * unit / 1e6


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "peft", "numpy", "soundfile", "accelerate"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


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
