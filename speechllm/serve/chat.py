"""`POST /v1/chat/completions`: questions about sounds and pictures, as OpenAI's clients write them.

A picture is a `data:` URL; no other is ever opened. `structured_outputs` with a `choice` is vLLM's
way to name the answers that there are, in the `extra_body` of OpenAI's client.
"""

import asyncio
import secrets
import time
from contextlib import ExitStack

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from speechllm.decode import requests, search
from speechllm.serve import written
from speechllm.serve.engine import Said
from speechllm.serve.messages import Message, Taken
from speechllm.serve.refusals import UnfitError, known_model, told
from speechllm.serve.waiting import events, whole

router = APIRouter()
MOST_MESSAGES = 64
MOST_CHOICES = 32  # each is a beam
NOT_DONE = (
    "tools", "functions", "response_format", "stop", "logprobs", "logit_bias",
    "guided_choice", "guided_json", "guided_regex", "guided_grammar",  # once vLLM's
)  # fmt: skip
ENDS = {"eos": "stop", "length": "length", "loop": "stop"}


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    include_usage: bool = False


class Structured(BaseModel):
    """What an answer may be; of vLLM's ways to say so only the list of all answers."""

    model_config = ConfigDict(extra="forbid")

    choice: list[str] = Field(min_length=1, max_length=MOST_CHOICES)

    @field_validator("choice")
    @classmethod
    def _different(cls, choice: list[str]) -> list[str]:
        if len({*choice}) < len(choice) or any(not one or one != one.strip() for one in choice):
            raise ValueError("wanted different answers, none empty or with spaces around it")
        return choice


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
    structured_outputs: Structured | None = None

    @property
    def search(self) -> search.Config:
        """How to search."""
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        allowed = self.structured_outputs.choice if self.structured_outputs else ()
        return search.Config(**drawn, choices=allowed)


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
        taken = Taken(service, folder, job)
        messages = [taken.message(one) for one in asked.messages]
        question = requests.Request(taken.waves, messages, "the request", taken.pictures)
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
