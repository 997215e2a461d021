"""Clocks and counters of benchmarks/model.py: seconds, operations, memory."""

import os
import statistics
import struct
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, from their data sheets


def medians(functions: list, runs: int, device: str) -> list[float]:
    """Time functions in turns, after one run each; return the median seconds of each."""
    seconds = [[] for _ in functions]
    for run in range(runs + 1):
        for function, kept in zip(functions, seconds, strict=True):
            began = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if run:
                kept.append(time.perf_counter() - began)
    return [statistics.median(kept) for kept in seconds]


class Laps:
    """A stopwatch: seconds of each lap."""

    def __init__(self):
        self.laps, self.began = [], self._now()

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self) -> None:
        """End a lap."""
        now = self._now()
        self.laps.append(now - self.began)
        self.began = now


def split(step, encoder, runs: int) -> str:
    """Say where the time of a step goes; `step` answers with its laps."""
    seconds, clocks = [], []
    hooks = (
        encoder.register_forward_pre_hook(lambda *_: clocks.append(Laps())),
        encoder.register_forward_hook(lambda *_: clocks[-1].lap()),
    )
    for _ in range(runs):
        clocks.clear()
        forward, *others = step()
        inside = sum(clock.laps[0] for clock in clocks)
        seconds.append((inside, forward - inside, *others))
    for hook in hooks:
        hook.remove()
    names = "encoder forward", "other forward", "backward", "optimiser"
    shares = [statistics.median(lap) for lap in zip(*seconds, strict=True)]
    return ", ".join(
        f"{name} {100 * share / sum(shares):.0f} %"
        for name, share in zip(names, shares, strict=True)
    )


def verdict(what: str, times: float, target: float) -> None:
    """Say whether a target is met."""
    print(f"{what}: {times:.2f} times; target {target}: {'met' if times >= target else 'not met'}")


def flops(function) -> int:
    """Count the floating point operations of a function."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def peak_flops(device: str) -> float:
    """Most operations a second: of a known GPU its data sheet's, else those of a matrix product."""
    if device == "cuda":
        for name, peak in PEAKS.items():
            if name in torch.cuda.get_device_name():
                return peak
    a = torch.randn(1024, 1024, device=device)
    return 2 * 1024**3 / medians([lambda: a @ a], 5, device)[0]


def peak_mb(function, device: str) -> float:
    """Memory that a function needs at most, besides what is there before; in MB."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return _forked_peak_mb(function)


def _forked_peak_mb(function) -> float:
    """Run a function in a copy of this process; return by how much its memory grew at most."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with open("/proc/self/statm", encoding="utf-8") as file:
            before = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # the peak starts anew
        function()
        with open("/proc/self/status", encoding="utf-8") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
        os.write(write, struct.pack("d", (peak - before) / 1024))
        os._exit(0)
    os.close(write)
    answer = os.read(read, 8)
    os.close(read)
    os.waitpid(child, 0)
    return struct.unpack("d", answer)[0] if answer else float("nan")


def roof(steps: dict, runs: int) -> None:
    """Print how long a step's matrix products would take at the pace of one large product alone."""
    a, b = (torch.randn(2048, 2048, dtype=torch.bfloat16) for _ in range(2))
    paces = []
    for _ in range(10 * runs):
        began = time.perf_counter()
        a @ b
        paces.append(2 * 2048**3 / (time.perf_counter() - began))
    pace = statistics.median(paces)
    print(f"a bf16 product of 2048 x 2048 x 2048: {pace / 1e9:.0f} GFLOP/s")
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counted:
            step()
        flops = counted.get_total_flops()
        print(f"{name}: {flops / 1e9:.0f} GFLOP, at that pace {flops / pace:.2f} s")
