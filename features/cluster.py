"""Pieces of work over many processes and machines, by Ray.

    with cluster.workers("local", jobs=4) as run:       # or the address of a cluster that is there
        for result in run(function, pieces):            # in the order of the pieces
            ...

A piece is done by one task of one core, `function(piece)`, by a module's function or a partial of
one, so that any machine can import it. What it writes must lie where all machines see it, and be
the same when it is written twice: a worker that is killed loses its piece, which another one does
again. A ValueError or OSError of a piece ends all of it with that message. These are tasks of Ray
itself, not of Ray Data: nothing here is a table, and those begin much later.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator

RETRIES = 5  # of a piece whose worker died
STORE_BYTES = 128 << 20  # Ray's memory for what goes to and fro on this machine: it is little
ADVICE = "pip install 'speechllm[ray]'"


@contextlib.contextmanager
def workers(address: str, jobs: int = 0, gpus: float = 0) -> Iterator[Callable]:
    """Give a `map` over the workers of a cluster, or of this machine ("local", `jobs` processes).

    `gpus`: of each task. Raises ValueError where Ray is not installed, or no cluster answers.
    """
    ray = _ray()
    own = {"num_cpus": jobs or os.cpu_count(), "object_store_memory": STORE_BYTES}
    where = {**own, "include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            "local" if address == "local" else address, log_to_driver=False,
            logging_level=logging.ERROR, configure_logging=True, **where,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        said = str(error).split("\n")[0]
        raise ValueError(f"--ray {address}: no cluster answers there ({said})") from None
    try:
        yield functools.partial(_map, ray, {"num_cpus": 1, **({"num_gpus": gpus} if gpus else {})})
    finally:
        ray.shutdown()


def whole(piece: tuple) -> tuple:
    """A piece whose last part is items (sources.Item), with whole paths: others start elsewhere."""
    *rest, items = piece
    paths = (i.path if "://" in i.path else os.path.abspath(i.path) for i in items)
    return *rest, [dataclasses.replace(i, path=p) for i, p in zip(items, paths, strict=True)]


def _ray():
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--ray wants Ray ({error}): {ADVICE}") from None
    return ray


def _map(ray, needs: dict, function: Callable, pieces: Iterable) -> Iterator:
    """Results of each piece, in order; twice as many are on the way as there are cores."""
    task = ray.remote(_one).options(max_retries=RETRIES, **needs)
    ahead = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    source, waiting = iter(pieces), collections.deque()
    try:
        while True:
            for piece in itertools.islice(source, ahead - len(waiting)):
                waiting.append(task.remote(pickle.dumps((function, piece))))
            if not waiting:
                return
            good, result = pickle.loads(ray.get(waiting.popleft()))
            if not good:
                raise ValueError(result)
            yield result
    except ray.exceptions.RayError as error:
        said = [line for line in str(error).split("\n") if line.strip()][-1:]
        raise ValueError(
            f"a worker failed, or ended {RETRIES + 1} times at one piece (out of memory?): "
            f"{''.join(said).strip() or type(error).__name__}"
        ) from None


def _one(work: bytes) -> bytes:
    """Do one piece, in a worker."""
    function, piece = pickle.loads(work)
    try:
        result = True, function(piece)
    except (ValueError, OSError) as error:
        result = False, str(error)
    return pickle.dumps(result)
