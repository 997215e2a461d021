"""Energy in joules, where the machine tells it: RAPL of its processors, NVML of its GPUs.

    with Meter() as meter:
        ...
    meter.joules          # None where nothing tells

Both count all that runs there, whoever runs it. RAPL begins anew within an hour of work, so it is
looked at every minute.
"""

import contextlib
import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

EVERY_S = 60.0
POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


class Meter:
    """Counts while it is open.

    Args:
        counters: (read, largest) each: what gives joules so far, and where it begins anew, 0:
            never; those of this machine where none are given.
    """

    def __init__(self, counters: list[tuple[Callable[[], float], float]] | None = None):
        self._counters = [*rapl(), *nvml()] if counters is None else counters
        self._spent, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._lock = threading.Lock()

    @property
    def joules(self) -> float | None:
        """All that was spent so far; None where nothing tells."""
        return self._spent if self._counters else None

    def __enter__(self) -> "Meter":
        self._last = [read() for read, _ in self._counters]
        if self._counters:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if self._counters:
            self._thread.join()
            self.look()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Add what each counter has gone on by."""
        with self._lock:
            for k, (read, largest) in enumerate(self._counters):
                now = read()
                self._spent += now - self._last[k] + (largest if now < self._last[k] else 0)
                self._last[k] = now


def rapl(home: Path = POWERCAP) -> list[tuple[Callable[[], float], float]]:
    """Find the counters of whole processors that may be read."""
    found = []
    for folder in sorted(home.glob("*-rapl:*")):
        if folder.name.count(":") > 1:
            continue  # a part of one that is counted already
        with contextlib.suppress(OSError, ValueError):
            largest = int((folder / "max_energy_range_uj").read_text(encoding="utf-8")) / 1e6
            read = _reader(folder / "energy_uj")
            read()
            found.append((read, largest))
    return found


def _reader(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text(encoding="utf-8")) / 1e6


def nvml() -> list[tuple[Callable[[], float], float]]:
    """Find the counters of GPUs (Volta and newer), through the driver's own library."""
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return []
    n = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(n)):
        return []
    found = []
    for k in range(n.value):
        device = ctypes.c_void_p()
        if not library.nvmlDeviceGetHandleByIndex_v2(k, ctypes.byref(device)):
            read = _gpu(library, device)
            if read() > 0:
                found.append((read, 0.0))
    return found


def _gpu(library, device: ctypes.c_void_p) -> Callable[[], float]:
    def read() -> float:
        millijoules = ctypes.c_ulonglong()
        library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
        return millijoules.value / 1e3

    return read
