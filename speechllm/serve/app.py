"""The application: routes, who may come in, what goes wrong, what is counted.

with Service(backends.load("exp/mini", "cpu"), settings) as service:
    uvicorn.run(build(service))
"""

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from speechllm.serve import chat, live, page, refusals, transcriptions
from speechllm.serve.guard import Guard
from speechllm.serve.service import Service

router = APIRouter()
OURS = "speechllm"


@router.get("/health")
async def health(request: Request) -> Response:
    """Say whether requests are taken."""
    service = request.app.state.service
    status = "draining" if service.draining else "ok" if service.engine.alive else "broken"
    return JSONResponse({"status": status}, 200 if status == "ok" else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Give the numbers to Prometheus."""
    text = request.app.state.service.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """List the one model that is served."""
    return JSONResponse({"object": "list", "data": [_model(request)]})


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    """Tell of the model by its name."""
    refusals.known_model(request.app.state.service, name)
    return JSONResponse(_model(request))


def _model(request: Request) -> dict:
    service = request.app.state.service
    return {
        "id": service.settings.name,
        "object": "model",
        "created": service.created,
        "owned_by": OURS,
        "media": sorted(service.backend.media),
        "chats": service.backend.chats,
    }


class Counted:
    """ASGI middleware that counts answers by route and status."""

    def __init__(self, app, service: Service, routes: frozenset[str]):
        self._app, self._service, self._routes = app, service, routes

    async def __call__(self, scope, receive, send) -> None:
        """Pass a request on and look at its status."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # what a client writes as a path is no label: there would be no end of them
        route = scope["path"] if scope["path"] in self._routes else "other"

        async def seen(message):
            if message["type"] == "http.response.start":
                self._service.metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, seen)


def build(service: Service):
    """Make the application of a service."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    routers = [router, transcriptions.router, chat.router, live.router]
    routers += [page.router] if service.settings.page else []
    for one in routers:
        app.include_router(one)
    refusals.attach(app)
    routes = frozenset(route.path for one in routers for route in one.routes)
    return Counted(Guard(app, service.settings), service, routes)
