"""Several processes of one training, forked from a test: nothing is imported a second time."""

import os
import pickle
import socket
import sys
import time
import traceback
from pathlib import Path

from accelerate.state import AcceleratorState


def together(n: int, job, folder: Path, limit_s: float = 120.0) -> list:
    """Run `job(rank)` in n processes that find each other; return what each returned.

    Raises:
        AssertionError: one failed, or took too long; says what each had to say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [_begin(rank, n, port, job, folder) for rank in range(n)]
    end, left, bad = time.time() + limit_s, set(children), []
    while left and not bad and time.time() < end:
        for child in sorted(left):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                left.discard(child)
                bad += [child] * (status != 0)
        time.sleep(0.01)
    time.sleep(0.3 * bool(bad))  # for the others to say what they know
    for child in left:
        os.kill(child, 9)
        os.waitpid(child, 0)
    said = "\n".join(file.read_text()[-3000:] for file in sorted(folder.glob("*.failed")))
    assert not bad and not left, said or f"{len(left)} of {n} took more than {limit_s} s"
    return [pickle.loads((folder / f"{rank}.done").read_bytes()) for rank in range(n)]


def _begin(rank: int, n: int, port: int, job, folder: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    AcceleratorState._reset_state(reset_partial_state=True)  # of the test's own process
    try:
        result = job(rank)
        (folder / f"{rank}.done").write_bytes(pickle.dumps(result))
        os._exit(0)
    except BaseException:
        (folder / f"{rank}.failed").write_text(f"process {rank}: {traceback.format_exc()}")
        os._exit(1)
