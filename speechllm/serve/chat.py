"""`POST /v1/chat/completions`: questions about sounds, as OpenAI's clients write them."""

import asyncio
import base64
import binascii
import secrets
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from speechllm.decode import requests, search
from speechllm.serve import written
from speechllm.serve.decoder import FILE
from speechllm.serve.engine import Said
from speechllm.serve.refusals import UnfitError, known_model, told
from speechllm.serve.waiting import events, whole

router = APIRouter()
MOST_MESSAGES, MOST_PARTS = 64, 64
NOT_DONE = ("tools", "functions", "response_format", "stop", "logprobs", "logit_bias")
ENDS = {"eos": "stop", "length": "length", "loop": "stop"}


class Sound(BaseModel):
    """A sound file in a message, base64."""

    data: str
    format: str = ""


class Part(BaseModel):
    """A piece of a message."""

    type: Literal["text", "input_audio", "image_url"]
    text: str = ""
    input_audio: Sound | None = None


class Message(BaseModel):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] = Field(max_length=1 << 20)


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    include_usage: bool = False


class Asked(BaseModel):
    """A request; fields of which nothing is known here are not looked at."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)
    n: int = Field(1, ge=1, le=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @property
    def search(self) -> search.Config:
        """How to search."""
        return search.Config(temperature=self.temperature, top_p=self.top_p, seed=self.seed)


@router.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    """Answer a conversation."""
    service = request.app.state.service
    with ExitStack() as stack:
        job = stack.enter_context(service.place(request.url.path))
        async with asyncio.timeout(service.settings.body_s):
            body = await request.body()
        asked = _read(body, service)
        folder = stack.enter_context(service.folder())
        held = stack.pop_all()
    most = service.settings.max_tokens
    bound = min(asked.max_completion_tokens or asked.max_tokens or most, most)

    def answer(grown=None) -> Said:
        waves, messages = _messages(asked, service, folder, job)
        question = requests.Request(waves, messages, "the request")
        piece = service.backend.chat(question, bound, asked.search, job, grown)
        service.engine.submit(piece)
        return piece.answer.result()

    if asked.stream:
        items = events(service, held, job, lambda send: _streamed(answer, send))
        chunks = _chunks(_head(service, "chat.completion.chunk"), asked, items)
        return StreamingResponse(chunks, media_type="text/event-stream")
    said = await whole(service, held, request, job, answer)
    message = {"role": "assistant", "content": said.text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": ENDS[said.stop], "logprobs": None}
    head = _head(service, "chat.completion")
    return JSONResponse({**head, "choices": [choice], "usage": _usage(said)})


def _streamed(answer, send) -> Said:
    """Answer, sending pieces of the text."""
    deltas = written.Deltas(send)
    said = answer(deltas)
    deltas(said.text, over=True)
    return said


async def _chunks(head: dict, asked: Asked, items):
    """Yield the chunks of an answer."""

    def chunk(delta: dict, end: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return written.event({**head, "choices": [choice]})

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for item in items:
            if isinstance(item, str):
                yield chunk({"content": item})
                continue
            yield chunk({}, ENDS[item.stop])
            if asked.stream_options.include_usage:
                yield written.event({**head, "choices": [], "usage": _usage(item)})
        yield b"data: [DONE]\n\n"
    except Exception as error:  # the head is sent: what is wrong is an event
        yield written.event({"error": told(error)[1]})


def _head(service, kind: str) -> dict:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": service.settings.name,
    }


def _usage(said: Said) -> dict:
    prompt, n = said.n_prompt, len(said.ids)
    return {"prompt_tokens": prompt, "completion_tokens": n, "total_tokens": prompt + n}


def _read(body: bytes, service) -> Asked:
    """Read a request.

    Raises:
        UnfitError: what is wrong in it, or asks for what there is not.
    """
    try:
        asked = Asked.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UnfitError(f"{where or 'body'}: {first['msg']}", where or None) from None
    known_model(service, asked.model)
    if not service.backend.chats:
        raise UnfitError("this model answers no questions; take /v1/audio/transcriptions")
    more = asked.model_extra or {}
    for name in NOT_DONE:
        if more.get(name) not in (None, False, [], {}, {"type": "text"}):
            raise UnfitError(f"{name}: is not done here; leave it out", name)
    return asked


def _messages(asked: Asked, service, folder: Path, job) -> tuple[list[np.ndarray], list[dict]]:
    """Give the waves of a conversation in order, and its messages as a `Request` has them."""
    waves, messages, left_s = [], [], service.settings.max_chat_s
    for message in asked.messages:
        parts = message.content
        if isinstance(parts, str):
            parts = [Part(type="text", text=parts)]
        if len(parts) > MOST_PARTS:
            raise UnfitError(f"wanted at most {MOST_PARTS} parts in a message", "messages")
        content = []
        for part in parts:
            if part.type == "text":
                content.append({"type": "text", "text": part.text})
                continue
            if part.input_audio is None:
                raise UnfitError(f"{part.type}: this model takes input_audio and text", "messages")
            job.check()
            waves.append(_wave(part.input_audio, service, folder, left_s))
            left_s -= len(waves[-1]) / service.backend.sampling_rate
            content.append({"type": "audio"})
        role = "system" if message.role == "developer" else message.role
        messages.append({"role": role, "content": content})
    return waves, messages


def _wave(sound: Sound, service, folder: Path, most_s: float) -> np.ndarray:
    """Decode a sound of a message, (N,) at the model's rate."""
    try:
        data = base64.b64decode(sound.data, validate=True)
    except (binascii.Error, ValueError):
        raise UnfitError("input_audio.data: wanted base64", "messages") from None
    (folder / FILE).write_bytes(data)
    with service.decoders.open(folder, service.backend.sampling_rate) as decoded:
        if decoded.duration_s > most_s:
            raise UnfitError(
                f"the sounds last more than {service.settings.max_chat_s:g} s together; "
                "longer ones: /v1/audio/transcriptions", "messages",
            )  # fmt: skip
        return np.concatenate([np.zeros(0, np.float32), *decoded])
