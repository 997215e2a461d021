"""What all requests share: the model, its engine, the decoders, the places, the numbers."""

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from speechllm.serve.engine import AbandonedError, Engine, Job
from speechllm.serve.metrics import Metrics
from speechllm.serve.settings import Settings
from speechllm.serve.sounds import Decoders

AT_WORK = 32  # files that are decoded at one time; others of those let in wait on the disk
EARS = 2  # threads in which speech is looked for: what each once computed with stays with it
RECENT = 0.2  # share of the newest request in the mean of their seconds


class BusyError(Exception):
    """There is no place for one more request; `after_s` says when to ask again."""

    def __init__(self, after_s: int):
        super().__init__("too many requests; ask again later")
        self.after_s = after_s


class Service:
    """See the module docstring; a context manager.

    Args:
        backend: of `backends.load`.
        settings: see there.
    """

    def __init__(self, backend, settings: Settings):
        self.backend, self.settings, self.metrics = backend, settings, Metrics()
        self.decoders = Decoders(settings.memory_mb, settings.max_duration_s)
        self.engine = Engine(backend, settings.max_batch_s, self.metrics.batch.observe)
        self.created = int(time.time())
        self.n_inside, self.draining = 0, False
        self._jobs: set[Job] = set()
        self._seconds = 1.0
        self.metrics.busy.set_function(lambda: self.n_inside)
        self.metrics.waiting.set_function(lambda: self.engine.n_waiting)

    def __enter__(self) -> "Service":
        with ExitStack() as stack:
            self._home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speechllm-")))
            stack.enter_context(self.decoders)
            self.pool = ThreadPoolExecutor(AT_WORK, "request")
            stack.callback(self.pool.shutdown, cancel_futures=True)
            self.ears = stack.enter_context(ThreadPoolExecutor(EARS, "ears"))
            stack.callback(self._cancel)
            stack.enter_context(self.engine)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _cancel(self) -> None:
        for job in list(self._jobs):
            job.cancel()

    @contextlib.contextmanager
    def place(self, route: str) -> Iterator[Job]:
        """Give a request its place; whatever happens, its job ends with it.

        Raises:
            BusyError: there is none.
            AbandonedError: the server is going down.
        """
        most = self.settings.max_requests
        if self.draining:
            raise AbandonedError
        if self.n_inside >= most:
            self.metrics.refused.inc()
            share = self.n_inside / max(1, min(most, AT_WORK))
            raise BusyError(min(max(math.ceil(self._seconds * share), 1), 60))
        job, began = Job(), time.perf_counter()
        self.n_inside += 1
        self._jobs.add(job)
        try:
            yield job
        finally:
            job.cancel()
            self._jobs.discard(job)
            self.n_inside -= 1
            spent = time.perf_counter() - began
            self._seconds += RECENT * (spent - self._seconds)
            self.metrics.seconds.labels(route).observe(spent)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder for one request's file."""
        path = Path(tempfile.mkdtemp(dir=self._home))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
