"""Many clients at one server: errors, mixed answers, latency, throughput against one, memory.

    python benchmarks/serve.py exp/mini data/test.jsonl [--clients 20] [--seconds 300]

starts `speechllm serve` as a process of its own, asks for each sound once to know what it says
alone, lets one client ask for a while and then many, each after another, all the time. Wanted: no
error, every answer the one of its sound alone, p95 at most twice the mean, at least three times the
throughput of one client, and memory that does not grow.
"""

import argparse
import contextlib
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROUTE = "/v1/audio/transcriptions"
WARM_S = 5.0  # of a load, before memory is looked at
EVERY_S = 1.0
FIFTHS = 5


@dataclass
class Load:
    """What came of many requests.

    Attributes:
        seconds: of each answered request.
        errors: status or exception of each other.
        mixed: answers that were not those of their sound.
        memory_mb: of the server and its processes, at each second.
        wall_s: of all of it.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall_s

    def quantile(self, share: float) -> float:
        """Seconds in which this share is answered."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def ask(client: httpx.Client, name: str, path: Path) -> str:
    """Ask for one sound.

    Raises:
        httpx.HTTPError: no answer, or none that is well.
    """
    with open(path, "rb") as file:
        answer = client.post(ROUTE, files={"file": file}, data={"model": name})
    answer.raise_for_status()
    return answer.json()["text"]


def load(address: str, name: str, wanted: dict[Path, str], clients: int, seconds: float, pid=0):
    """Let so many clients ask for so long, for sounds drawn from `wanted` (file: text).

    Args:
        address: of the server.
        name: of its model.
        wanted: what each sound says alone.
        clients: threads, each of which asks anew as soon as it is answered.
        seconds: after which nothing new is asked.
        pid: of the server, whose memory is looked at; 0: it is not.
    """
    result, lock, began = Load(), threading.Lock(), time.perf_counter()
    end = began + seconds

    def client(seed: int) -> None:
        drawn = random.Random(seed)
        with httpx.Client(base_url=address, timeout=120) as http:
            while (start := time.perf_counter()) < end:
                path = drawn.choice(list(wanted))
                try:
                    text = ask(http, name, path)
                except httpx.HTTPError as error:
                    with lock:
                        result.errors.append(repr(error))
                    continue
                with lock:
                    result.seconds.append(time.perf_counter() - start)
                    if text != wanted[path]:
                        result.mixed.append(f"{path}: {text!r} for {wanted[path]!r}")

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    while pid and time.perf_counter() < end:
        time.sleep(EVERY_S)
        if time.perf_counter() - began > WARM_S:
            result.memory_mb.append(resident_mb(pid))
    for thread in threads:
        thread.join()
    result.wall_s = time.perf_counter() - began
    return result


def resident_mb(pid: int) -> float:
    """Memory of a process and its children, shared pages counted once for each."""
    every = [psutil.Process(pid)]
    every += every[0].children(recursive=True)
    total = 0
    for one in every:
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total / 1e6


@contextlib.contextmanager
def server(model: str, *words: str) -> Iterator[tuple[str, str, subprocess.Popen]]:
    """Start `speechllm serve`; gives address, the model's name and the process."""
    command = [sys.executable, "-m", "speechllm", "serve", model, "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = next((x for x in process.stderr if " at http" in x), "")
        said = re.match(r"(\S+) at (http://[^/]+)/v1", line)
        if not said:
            raise ValueError(f"{model}: no server ({line.strip() or 'it ended'})")
        yield said[2], said[1], process
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def sounds(source: Path, most: int) -> list[Path]:
    """List sound files of a folder or manifest."""
    from features.sources import find

    return [Path(item.path) for item in find(source)][:most]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--alone-s", type=float, default=30.0, help="of the one client")
    parser.add_argument("--files", type=int, default=100, help="most sounds to ask for")
    args = parser.parse_args()
    with server(args.model) as (address, name, process):
        with httpx.Client(base_url=address, timeout=120) as http:
            wanted = {p: ask(http, name, p) for p in sounds(args.sounds, args.files)}
        one = load(address, name, wanted, 1, args.alone_s)
        many = load(address, name, wanted, args.clients, args.seconds, process.pid)
    print(table(one, many, args.clients))


def table(one: Load, many: Load, clients: int) -> str:
    """Write what was measured."""
    mean = statistics.mean(many.seconds)
    size = max(len(many.memory_mb) // FIFTHS, 1)
    fifths = [many.memory_mb[i * size : (i + 1) * size] for i in range(FIFTHS)]
    memory = [f"{statistics.mean(some):.0f}" for some in fifths if some] or ["not looked at"]
    rows = [
        ("clients", f"{clients}", ""),
        ("answered", f"{len(many.seconds)} in {many.wall_s:.0f} s", ""),
        ("errors", f"{len(many.errors)}", "0"),
        ("mixed answers", f"{len(many.mixed)}", "0"),
        ("one client, answers/s", f"{one.per_s:.2f}", ""),
        ("many, answers/s", f"{many.per_s:.2f} ({many.per_s / one.per_s:.1f}x)", "3x"),
        ("mean, p50, p95, max in s", f"{mean:.3f}, {many.quantile(0.5):.3f}, "
         f"{many.quantile(0.95):.3f} ({many.quantile(0.95) / mean:.2f}x the mean), "
         f"{max(many.seconds):.3f}", "2x"),
        ("memory in MB, by fifths of the time", ", ".join(memory), "flat"),
    ]  # fmt: skip
    lines = [f"| {what} | {measured} | {wanted} |" for what, measured, wanted in rows]
    return "\n".join(["| | measured | wanted |", "|---|---|---|", *lines])


if __name__ == "__main__":
    main()
