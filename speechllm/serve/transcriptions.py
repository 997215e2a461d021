"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""

import asyncio
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import FormData, UploadFile

from speechllm.decode.listeners import Wanted
from speechllm.serve import written
from speechllm.serve.decoder import SOUND
from speechllm.serve.listening import Heard, Listening
from speechllm.serve.refusals import UnfitError, known_model, told
from speechllm.serve.waiting import events, whole

router = APIRouter()
FIELDS, FIELD_BYTES = 32, 1 << 14  # of a form
KNOWN = {
    "file", "model", "language", "prompt", "response_format", "temperature", "stream",
    "timestamp_granularities[]", "timestamp_granularities", "chunking_strategy", "include[]", "to",
    "n_best",
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a form asks for."""

    wanted: Wanted
    format: str
    temperature: float
    stream: bool
    grains: frozenset[str]
    n_best: int = 1


@router.post("/v1/audio/transcriptions")
async def transcribe(request: Request) -> Response:
    """Write down what is said."""
    return await _answer(request, "transcribe")


@router.post("/v1/audio/translations")
async def translate(request: Request) -> Response:
    """Translate what is said."""
    return await _answer(request, "translate")


async def _answer(request: Request, task: str) -> Response:
    service = request.app.state.service
    with ExitStack() as stack:
        job = stack.enter_context(service.place(request.url.path))
        folder = stack.enter_context(service.folder())
        async with (
            asyncio.timeout(service.settings.body_s),
            request.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES) as form,
        ):
            asked = _read(form, task, service)
            await asyncio.to_thread(_save, form["file"], folder)
        return await _heard(request, service, stack.pop_all(), job, folder, asked)


async def _heard(request: Request, service, held: ExitStack, job, folder: Path, asked: Asked):
    """Answer as a whole, or begin to stream."""

    def hear(grown=None) -> Heard:
        words = asked.format in ("verbose_json", "srt", "vtt") and not asked.stream
        listening = Listening(
            service, job, asked.wanted, asked.temperature, grown, words, asked.n_best
        )
        heard = listening.hear(folder)
        service.metrics.audio.inc(heard.duration_s)
        return heard

    if asked.stream:
        items = events(service, held, job, lambda send: _streamed(hear, send))
        return StreamingResponse(_events(items), media_type="text/event-stream")
    heard = await whole(service, held, request, job, hear)
    if asked.format in written.TYPES:
        text = written.text_of(heard, asked.format)
        return Response(text, media_type=f"{written.TYPES[asked.format]}; charset=utf-8")
    if asked.format == "verbose_json":
        task, language = asked.wanted.task, asked.wanted.language
        said = written.verbose(heard, task, language, asked.temperature, asked.grains)
        return JSONResponse(said)
    return JSONResponse(written.json_of(heard))


def _streamed(hear, send) -> dict:
    """Hear, sending pieces of the text; gives the last event, all of it."""
    deltas = written.Deltas(lambda new: send({"type": "transcript.text.delta", "delta": new}))
    heard = hear(deltas)
    deltas(heard.transcript.text, over=True)
    return {"type": "transcript.text.done", **written.json_of(heard)}


async def _events(items):
    try:
        async for item in items:
            yield written.event(item)
    except Exception as error:  # the head is sent: what is wrong is an event
        yield written.event({"error": told(error)[1]})


def _read(form: FormData, task: str, service) -> Asked:
    """Read a form.

    Raises:
        UnfitError: a field that is missing, wrong, or asks for what there is not.
    """
    if unknown := set(form) - KNOWN:
        raise UnfitError(f"there is no field {min(unknown)[:40]!r}", min(unknown)[:40])
    if not isinstance(form.get("file"), UploadFile):
        raise UnfitError("wanted a sound file in the field 'file'", "file")
    known_model(service, _word(form, "model"))
    for name, fine in (
        ("prompt", ("",)),
        ("include[]", ("",)),
        ("chunking_strategy", ("", "auto")),
    ):
        if _word(form, name) not in fine:
            raise UnfitError(f"{name}: is not done here; leave it out", name)
    grains = frozenset(
        [*form.getlist("timestamp_granularities[]"), *form.getlist("timestamp_granularities")]
    )
    asked = Asked(
        wanted=_wanted(form, task),
        format=_one_of(form, "response_format", written.FORMATS, "json"),
        temperature=_temperature(form),
        stream=_one_of(form, "stream", ("true", "false"), "false").lower() == "true",
        grains=grains or frozenset(["segment"]),
        n_best=int(_one_of(form, "n_best", tuple("12345678"), "1")),
    )
    if not all(grain in written.GRAINS for grain in grains):
        raise UnfitError(f"wanted some of {', '.join(written.GRAINS)}", "timestamp_granularities[]")
    if asked.n_best > 1 and (asked.format != "verbose_json" or asked.stream):
        raise UnfitError("n_best: wants response_format verbose_json, and no stream", "n_best")
    service.backend.listener(
        asked.wanted, asked.temperature, asked.n_best
    )  # refuses what it cannot do
    return asked


def _wanted(form: FormData, task: str) -> Wanted:
    return Wanted(task, _word(form, "language"), _word(form, "to") or "en")


def _word(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise UnfitError(f"{name}: wanted a text, got a file", name)
    return value


def _one_of(form: FormData, name: str, words: tuple[str, ...], usual: str) -> str:
    word = _word(form, name) or usual
    if word.lower() not in words:
        raise UnfitError(f"{name}: wanted one of {', '.join(words)}, got {word[:40]!r}", name)
    return word.lower()


def _temperature(form: FormData) -> float:
    text = _word(form, "temperature") or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise UnfitError(f"temperature: wanted 0 to 2, got {text[:40]!r}", "temperature")
    return value


def _save(file: UploadFile, folder: Path) -> None:
    """Write what was sent under a name of ours."""
    with open(folder / SOUND, "wb") as out:
        shutil.copyfileobj(file.file, out)
