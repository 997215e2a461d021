"""Who may come in: asked of every request before anything of it is read.

In this order: the name by which the server was called (a page of another site that lets its name
point here is refused), the page that calls (`Origin`), the token, and the size of what is sent,
which is counted while it comes.
"""

import asyncio
import contextlib
import hmac
import json
from urllib.parse import urlsplit

from speechllm.serve.settings import Settings

OPEN = ("/health",)  # says nothing of anybody
PAGE = {  # path -> file; with --page they are open, too: what the page asks for is not
    "/": "page.html",
    "/page.css": "page.css",
    "/page.js": "page.js",
    "/worklet.js": "worklet.js",
}
LINE, BEARER = "speechllm", "openai-insecure-api-key."  # of a WebSocket's protocols


class TooLargeError(Exception):
    """A body that is larger than is taken."""


class Guard:
    """ASGI middleware.

    Args:
        app: what answers those that may come in.
        settings: token, hosts, sizes.
    """

    def __init__(self, app, settings: Settings):
        self._app, self._settings = app, settings
        self._token = settings.token.encode()
        self._open = {*OPEN, *(PAGE if settings.page else ())}

    async def __call__(self, scope, receive, send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])  # lower-case names; of several the last
        if refusal := self._refusal(scope["path"], headers):
            if scope["type"] == "http" and _length(headers) <= self._settings.max_bytes:
                await drained(receive, self._settings)
            return await _answer(scope, send, *refusal)
        if scope["type"] == "websocket":
            return await self._app(scope, receive, send)
        most = self._settings.max_bytes
        if not _length(headers) <= most:
            return await _answer(scope, send, 413, f"the request is larger than {most} bytes")
        await self._app(scope, _counted(receive, most), send)

    def _refusal(self, path: str, headers: dict) -> tuple[int, str] | None:
        """Say with which status and words a request is refused, None if it is not."""
        if _host(headers.get(b"host", b"")) not in self._settings.names:
            return 403, "the server is not called by this name"
        origin = headers.get(b"origin")
        if origin is not None and not self._is_own(origin):
            return 403, "a page of another site may not ask"
        if self._token and path not in self._open and not self._knows(headers):
            return 401, "wanted the header: Authorization: Bearer TOKEN"
        return None

    def _is_own(self, origin: bytes) -> bool:
        site = urlsplit(origin.decode("latin-1"))
        return site.scheme in ("http", "https") and _host(site.netloc) in self._settings.names

    def _knows(self, headers: dict) -> bool:
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        if not kind and (named := _named(headers)):  # a browser's WebSocket has no such header
            kind, token = b"bearer", named
        # compared in any case, and in a time that says nothing of where they differ
        same = hmac.compare_digest(token.strip(), self._token)
        return same and kind.lower() == b"bearer"


def _named(headers: dict) -> bytes:
    """Give the token that stands among a WebSocket's protocols, as OpenAI's clients write it."""
    words = headers.get(b"sec-websocket-protocol", b"").split(b",")
    tokens = [w.strip()[len(BEARER) :] for w in words if w.strip().startswith(BEARER.encode())]
    return tokens[0] if tokens else b""


def _host(value: bytes | str) -> str:
    """Give the host of `host:port`."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    name, _, port = text.rpartition(":")
    return (name if name and port.isdigit() else text).lower()


def _length(headers: dict) -> float:
    """Bytes that a request says it has; 0: it does not say, and is counted."""
    said = headers.get(b"content-length", b"0")
    return int(said) if said.isdigit() and len(said) < 20 else float("inf")


def _counted(receive, most: int):
    """Let a body through up to its limit."""
    n = 0

    async def counted():
        nonlocal n
        message = await receive()
        n += len(message.get("body", b""))
        if n > most:
            raise TooLargeError
        return message

    return counted


async def drained(receive, settings: Settings) -> None:
    """Read a body and throw it away: who is still sending does not see the answer."""
    left = settings.max_bytes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.body_s):
            while left > 0 and (message := await receive()).get("more_body"):
                left -= len(message["body"])


async def _answer(scope, send, status: int, words: str) -> None:
    if scope["type"] == "websocket":  # before it is accepted: the client sees 403
        await send({"type": "websocket.close", "code": 1008, "reason": words})
        return
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    kind = "authentication_error" if status in (401, 403) else "invalid_request_error"
    body = json.dumps({"error": error(words, kind)}).encode()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error(words: str, kind: str = "invalid_request_error", param=None, code=None) -> dict:
    """Make the object in which OpenAI's clients look for what was wrong."""
    return {"message": words, "type": kind, "param": param, "code": code}
