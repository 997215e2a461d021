"""Work in a thread, waited for by a coroutine; a client that goes away ends it.

What a request holds (its place, its folder) is given back when its thread has ended, which may be a
little after the client is gone.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import Request

from speechllm.serve.engine import Job


class GoneError(Exception):
    """The client has hung up."""


async def whole(service, held: contextlib.ExitStack, request: Request, job: Job, work: Callable):
    """Return what `work()` gives, from a thread.

    Raises:
        GoneError: the client hung up meanwhile; the job is cancelled.
    """
    done = _begin(service, held, job, work)
    watch = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({done, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            service.metrics.gone.inc()
            raise GoneError
        return done.result()
    finally:
        watch.cancel()
        job.cancel()


def events(service, held: contextlib.ExitStack, job: Job, work: Callable) -> AsyncIterator:
    """Begin `work(send)` in a thread, and give what it sends; the last is what it returns.

    It begins now, and not when somebody first looks: who hangs up before that leaves nothing held.
    Closed early (the client has hung up), the iterator cancels the job.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()

    def send(item) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    done = _begin(service, held, job, lambda: work(send))
    done.add_done_callback(queue.put_nowait)
    return _items(service, job, queue, done)


async def _items(service, job: Job, queue: asyncio.Queue, done: asyncio.Future) -> AsyncIterator:
    try:
        while (item := await queue.get()) is not done:
            yield item
        yield done.result()
    finally:
        if not done.done():
            service.metrics.gone.inc()
        job.cancel()


def _begin(service, held: contextlib.ExitStack, job: Job, work: Callable) -> asyncio.Future:
    def checked():
        job.check()
        return work()

    done = asyncio.get_running_loop().run_in_executor(service.pool, checked)

    def over(_) -> None:
        held.close()
        if not done.cancelled():
            done.exception()  # seen, also where nobody waits any more

    done.add_done_callback(over)
    return done


async def _gone(request: Request) -> None:
    """Wait until the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
