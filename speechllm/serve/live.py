"""`/v1/audio/live`: a WebSocket that takes speech while it is spoken and says words as they come.

    ws://127.0.0.1:8000/v1/audio/live?model=mini&sampling_rate=48000

The client sends messages of samples (16 bits, little endian, one channel) and {"type": "end"}. The
server sends {"type": "partial", "text": ...}, which may still change, {"type": "final",
"text": ..., "words": [...]}, which does not and follows the finals before, and {"type": "done",
"text": ...}. It takes the next samples when it has heard those before: who sends faster waits.
"""

import asyncio
import contextlib
import json

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from speechllm.decode.live import Live, Update
from speechllm.decode.transcript import Heard
from speechllm.decode.wanted import Wanted
from speechllm.serve.engine import Job
from speechllm.serve.guard import LINE
from speechllm.serve.refusals import UnfitError, known_model, told
from speechllm.serve.written import word_of

router = APIRouter()
ROUTE = "/v1/audio/live"
RATES = 8000, 192000
CLOSED = {429: 1013, 503: 1012, 500: 1011}  # status -> what a WebSocket closes with; else 1008


class Shared:
    """A listener whose windows are heard in the batches of all (`decode/live.py` asks it)."""

    def __init__(self, service, listener, job: Job):
        self._service, self._listener, self._job = service, listener, job
        self.sampling_rate, self.window_s = listener.sampling_rate, listener.window_s
        self.untimed = listener.untimed

    def timed(self, waves) -> list[Heard]:
        """Write what is said in each wave, with times of its words."""
        backend = self._service.backend
        pieces = [backend.window(self._listener, wave, self._job, words=True) for wave in waves]
        for piece in pieces:
            self._service.engine.submit(piece)
        said = [piece.answer.result() for piece in pieces]
        return [Heard(one.text, one.words) for one in said]


@router.websocket(ROUTE)
async def listen(socket: WebSocket) -> None:
    """Hear one client until it ends, hangs up, or is silent on the line for too long."""
    service = socket.app.state.service
    await socket.accept(LINE if LINE in socket.scope.get("subprotocols", ()) else None)
    try:
        with service.place(ROUTE) as job:
            await _talk(socket, service, job)
    except WebSocketDisconnect:
        service.metrics.gone.inc()
    except Exception as problem:  # the line is open: what is wrong is a message on it
        status, what = told(problem)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_json({"type": "error", "error": what})
            await socket.close(CLOSED.get(status, 1008))


async def _talk(socket: WebSocket, service, job: Job) -> None:
    live, rate = _live(socket, service, job)
    loop, n, texts = asyncio.get_running_loop(), 0, []

    async def hear(work, *args) -> None:
        update = await loop.run_in_executor(service.pool, work, *args)
        texts.extend(word.text for word in update.final)
        for message in _messages(update):
            await socket.send_json(message)

    while (chunk := await _samples(socket, service.settings.body_s)) is not None:
        n += len(chunk)
        if n > service.settings.max_duration_s * rate:
            raise UnfitError(f"at most {service.settings.max_duration_s:g} s are heard")
        await hear(live, chunk)
    await hear(live.flush)
    service.metrics.audio.inc(n / rate)
    await socket.send_json({"type": "done", "text": " ".join(texts)})
    await socket.close()


def _live(socket: WebSocket, service, job: Job) -> tuple[Live, int]:
    """Read what the address asks for."""
    asked = dict(socket.query_params)
    known_model(service, asked.pop("model", ""))
    backend = service.backend
    wanted = Wanted("transcribe", asked.pop("language", ""))
    listener = Shared(service, backend.listener(wanted), job)
    text = asked.pop("sampling_rate", str(backend.sampling_rate))
    rate = int(text) if text.isdecimal() and len(text) < 7 else 0
    if not RATES[0] <= rate <= RATES[1]:
        raise UnfitError(f"sampling_rate: wanted {RATES[0]} to {RATES[1]}, got {text[:20]!r}")
    if asked:
        raise UnfitError(f"there is no setting {min(asked)[:40]!r}")
    return Live(listener, rate, vad=service.settings.vad), rate


async def _samples(socket: WebSocket, patience_s: float) -> np.ndarray | None:
    """Give the next samples (n,) of int16; None at the end."""
    async with asyncio.timeout(patience_s):
        message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    if (data := message.get("bytes")) is not None:
        if len(data) % 2:
            raise UnfitError("wanted samples of 16 bits, got an odd number of bytes")
        return np.frombuffer(data, "<i2")
    try:
        end = json.loads(message["text"]) == {"type": "end"}
    except (ValueError, RecursionError):
        end = False
    if not end:
        raise UnfitError('wanted samples, or {"type": "end"}')
    return None


def _messages(update: Update) -> list[dict]:
    """Write what is new."""
    messages = []
    if update.final:
        text = " ".join(word.text for word in update.final)
        words = [word_of(word) for word in update.final]
        messages.append({"type": "final", "text": text, "words": words, "paused": update.paused})
    if update.partial:
        text = " ".join(word.text for word in update.partial)
        messages.append({"type": "partial", "text": text})
    return messages
