"""What goes wrong, as OpenAI's clients read it: one line for the client, nothing of the inside.

What is a client's to mend is said to it; of anything else it learns a number, under which the log
has the rest.
"""

import logging
import re
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from speechllm.serve.engine import AbandonedError
from speechllm.serve.guard import TooLargeError, drained, error
from speechllm.serve.service import BusyError
from speechllm.serve.waiting import GoneError

log = logging.getLogger(__name__)
HINT = re.compile(r" \(--[^)]*\)")  # an option of the command line, which a client has not
MOST = 500  # characters of a message


class UnfitError(ValueError):
    """A request that cannot be done; `param` is the field at fault."""

    def __init__(self, words: str, param: str | None = None, status: int = 400, code=None):
        super().__init__(words)
        self.param, self.status, self.code = param, status, code


def known_model(service, name: str) -> None:
    """Refuse another model's name; there is one, and clients choose none.

    Raises:
        UnfitError: it is not the served one's.
    """
    if name != service.settings.name:
        words = f"there is no model {name[:60]!r} here; wanted {service.settings.name!r}"
        raise UnfitError(words, "model", 404, "model_not_found")


def told(problem: BaseException) -> tuple[int, dict]:
    """Give the status and the error object for what went wrong."""
    if isinstance(problem, UnfitError):
        return problem.status, error(str(problem)[:MOST], param=problem.param, code=problem.code)
    if isinstance(problem, TooLargeError):
        return 413, error("the request is larger than is taken")
    if isinstance(problem, BusyError):
        return 429, error(str(problem), "rate_limit_exceeded", code="rate_limit_exceeded")
    if isinstance(problem, AbandonedError):
        return 503, error("the server is going down", "server_error")
    if isinstance(problem, TimeoutError):
        return 408, error("the request took too long to arrive")
    if isinstance(problem, ValueError):  # of the model or the sound: for the user by our rules
        return 400, error(HINT.sub("", str(problem))[:MOST])
    number = secrets.token_hex(4)
    log.error("error %s", number, exc_info=problem)
    return 500, error(f"something went wrong in the server (error {number})", "server_error")


def answer(problem: BaseException) -> Response:
    """Answer with what went wrong."""
    status, what = told(problem)
    headers = {"Retry-After": str(problem.after_s)} if isinstance(problem, BusyError) else None
    return JSONResponse({"error": what}, status, headers)


def attach(app: FastAPI) -> None:
    """Let an app answer so to all that goes wrong in it."""

    async def plain(request: Request, problem: HTTPException) -> Response:
        kind = {404: "there is no such route", 405: "this route wants another method"}
        words = kind.get(problem.status_code, str(problem.detail)[:MOST])
        return JSONResponse({"error": error(words)}, problem.status_code, problem.headers)

    async def ours(request: Request, problem: Exception) -> Response:
        return answer(problem)

    async def busy(request: Request, problem: BusyError) -> Response:
        await drained(request.receive, request.app.state.service.settings)
        return answer(problem)

    async def gone(request: Request, problem: GoneError) -> Response:
        return Response(status_code=499)  # nobody reads it; the log and the numbers do

    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(BusyError, busy)
    for kind in (GoneError, ClientDisconnect):
        app.add_exception_handler(kind, gone)
    for kind in (AbandonedError, TooLargeError, ValueError, TimeoutError):
        app.add_exception_handler(kind, ours)
    app.add_exception_handler(Exception, ours)
