"""Runs a server: uvicorn, until SIGTERM; then what runs is finished, and nothing else begun.

Uvicorn closes its door at SIGTERM or Ctrl-C and waits for what it has let in; a second one ends it
at once.
"""

import asyncio
import contextlib
import functools
import socket
import threading
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from speechllm.decode.heap import trimmed
from speechllm.serve.app import build
from speechllm.serve.service import Service

HEAD_BYTES = 1 << 16  # of a request's line and headers
MESSAGE_BYTES = 1 << 20  # of a WebSocket: ten seconds at 48 kHz


def server(service: Service) -> uvicorn.Server:
    """Make the server of a service."""
    settings = service.settings
    config = uvicorn.Config(
        build(service),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        server_header=False,
        http=functools.partial(_Patient, patience_s=settings.head_s),
        h11_max_incomplete_event_size=HEAD_BYTES,
        ws_max_size=MESSAGE_BYTES,
        timeout_graceful_shutdown=round(settings.drain_s),
        lifespan="off",
    )
    return _Draining(config, service)


class _Patient(H11Protocol):
    """Hangs up where a request's head does not come, which uvicorn waits for as long as it takes.

    patience_s: from the beginning of a line, or from the first byte behind an answer.
    """

    def __init__(self, *args, patience_s: float, **options):
        super().__init__(*args, **options)
        self._patience_s = patience_s
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._end = self.loop.call_later(self._patience_s, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_socket = self.transport.get_protocol() is not self  # a WebSocket has taken the line
        is_asked = self.cycle is not None and not self.cycle.response_complete
        if is_socket or is_asked:
            self._stop()
        elif not self._end:
            self._end = self.loop.call_later(self._patience_s, self.transport.close)

    def connection_lost(self, exc) -> None:
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._end:
            self._end.cancel()
            self._end = None


class _Draining(uvicorn.Server):
    """Says that it drains, so that a request on a connection that is open already is refused."""

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig, frame) -> None:
        self._service.draining = True
        self.force_exit = self.should_exit  # the second
        self.should_exit = True


def listen(service: Service) -> socket.socket:
    """Take the port, before the model has anything to do.

    Raises:
        ValueError: somebody else has it.
    """
    settings = service.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((settings.host, settings.port))
        door.listen()
    except OSError as error:
        door.close()
        raise ValueError(
            f"{settings.host}:{settings.port}: cannot listen there ({error.strerror}); "
            "take another --port, 0 for a free one"
        ) from None
    return door


def serve(service: Service, door: socket.socket) -> None:
    """Serve until a signal ends it."""
    with service, trimmed():
        server(service).run([door])


@contextlib.contextmanager
def background(service: Service) -> Iterator[str]:
    """Serve in a thread of this process; gives the address. For tests and notebooks."""
    door = listen(service)
    running = server(service)
    with service:
        thread = threading.Thread(target=running.run, args=([door],), daemon=True)
        thread.start()
        try:
            yield f"http://{service.settings.host}:{door.getsockname()[1]}"
        finally:
            running.should_exit = True
            thread.join()
