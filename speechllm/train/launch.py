"""Several processes of one machine for one training, started, listened to and ended together.

    this process ──┬── process 0: prints, saves         signals that come here go on to all;
                   └── process 1, 2, ...: silent        the first to fail ends all

None outlives this one: each holds the reading end of a pipe that only closes when we are gone, even
by SIGKILL. What process 1, 2, ... says when it fails is kept and printed here, unless process 0 has
failed by itself: an error that all run into is printed once.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from speechllm.train.stopping import NAMES

CHILD = "SPEECHLLM_CHILD"  # set in the processes that are started here
FAILED = b"\0failed\n"  # ends what a failing process says
LOST = re.compile("closed by peer|reset by peer|remote process exited|broken pipe", re.IGNORECASE)
GRACE_S = 5.0  # for process 0 to fail of the same by itself
POLL_S = 0.05


def launch(words: list[str], n: int) -> int:
    """Run `speechllm WORDS` in n processes that share a training; return the exit status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max((os.cpu_count() or 1) // n, 1)
    common = {"OMP_NUM_THREADS": str(threads), **os.environ, CHILD: "1", "WORLD_SIZE": str(n)}
    common |= {"LOCAL_WORLD_SIZE": str(n), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    members: list[Member] = []
    with _forwarding(members):
        try:
            for rank in range(n):
                members.append(Member(words, rank, common))
            return _wait(members)
        finally:
            for member in members:
                member.end()


class Member:
    """One process of a training."""

    def __init__(self, words: list[str], rank: int, env: dict[str, str]):
        self.rank, self.said, self.failed = rank, b"", False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "speechllm", *words],
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=None if rank == 0 else subprocess.PIPE,
            start_new_session=True,  # Ctrl-C of a terminal comes to us alone, who pass it on
        )
        if rank:
            threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stderr:
            if line == FAILED:
                self.failed = True
            else:
                self.said = (self.said + line)[-100_000:]

    @property
    def code(self) -> int | None:
        """Exit status as a shell gives it; None while it runs."""
        code = self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def end(self) -> None:
        """Kill it if it is there still."""
        self.process.kill()
        self.process.wait()


def _wait(members: list[Member]) -> int:
    """Wait for all to end, or for one to fail."""
    first, others = members[0], members[1:]
    while True:
        if first.code is not None:
            return first.code
        bad = [m for m in others if m.failed or m.code not in (None, 0)]
        if bad:
            return _blame(first, bad[0])
        time.sleep(POLL_S)


def _blame(first: Member, bad: Member) -> int:
    """Say what has failed, unless process 0 says it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.process.wait(GRACE_S)
    if first.code is not None and bad.failed:
        return first.code
    first.end()
    if bad.failed:
        sys.stderr.write(bad.said.decode("utf-8", "replace"))
        return bad.code or 2
    hint = " (out of memory?)" if bad.code == 128 + 9 else ""
    print(f"speechllm train: process {bad.rank} ended with {bad.code}{hint}", file=sys.stderr)
    return bad.code


@contextlib.contextmanager
def _forwarding(members: list[Member]) -> Iterator[None]:
    """Pass signals on to the members, who save and end."""

    def forward(number, _frame):
        for member in members:
            member.process.send_signal(number)

    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_child() -> bool:
    """Say whether this process is one of several, started here or by torchrun."""
    return "LOCAL_RANK" in os.environ


def meet(cpu: bool) -> None:
    """Find the other processes, if we are one of several.

    torchrun may keep the store in which they leave their addresses when it starts all again; those
    of the attempt before would be taken for the new ones, so on one machine each attempt has keys
    of its own. (On several, `TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun` gives it a store.)

    Raises:
        ValueError: they are not there, the port is taken, some have GPUs and some have none; names
            this process, or the odd one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not is_child():
        return
    import torch
    from torch import distributed

    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else ""
    backend = "gloo" if cpu or not torch.cuda.is_available() else "nccl"
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    try:
        store, rank, size = next(distributed.rendezvous("env://"))
        store = distributed.PrefixStore(f"speechllm {attempt}", store)
        store.set(f"backend {rank}", backend)
        backends = [store.get(f"backend {other}").decode() for other in range(size)]
        store.set(f"read {rank}", "yes")
        for other in range(size if rank == 0 else 0):  # whose store it is goes last
            store.get(f"read {other}")
        for other, theirs in enumerate(backends):
            if theirs != backends[0]:
                raise ValueError(
                    f"process {other} speaks {theirs}, process 0 {backends[0]}: some have GPUs and "
                    "some have none; give --device cpu, or GPUs to all"
                )
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[0]
        raise ValueError(f"the others are not found at {place}: {line}") from None


@contextlib.contextmanager
def member() -> Iterator[None]:
    """Be one of the processes of `launch`, if we are: end with it, and leave errors to it."""
    if CHILD not in os.environ:
        with _named():
            yield
        return
    threading.Thread(target=_watch, daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if rank == 0 and _plain(error) is error:
            raise
        if rank == 0:
            raise _plain(error) from None
        # To end now would break the connection, and process 0 with it, in other words.
        _report(error)
        time.sleep(10 * GRACE_S)
        raise SystemExit(2) from None


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Say in what is told to the user which of torchrun's processes tells it."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        plain = _plain(error)
        if not is_child() or isinstance(plain, RuntimeError):
            raise
        raise ValueError(f"process {os.environ.get('RANK', '?')}: {plain}") from None


def _plain(error: BaseException) -> BaseException:
    """Give what torch says where a connection has ended in words of ours; any other error as is."""
    if isinstance(error, RuntimeError) and LOST.search(str(error)):
        return ValueError("another process has ended, and says why")
    return error


def _report(error: BaseException) -> None:
    if isinstance(error, ValueError | OSError | FloatingPointError):
        text = f"speechllm train: process {os.environ['RANK']}: {error}\n"
    else:
        text = "".join(traceback.format_exception(error))
    os.write(2, text.encode("utf-8", "replace") + FAILED)


def _watch() -> None:
    """End when the one who started us is gone."""
    while os.read(0, 1):
        pass
    os._exit(1)
