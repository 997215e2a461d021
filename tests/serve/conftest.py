"""A tiny model behind a server in a thread, and the real client."""

import contextlib

import pytest
import torch

pytest.importorskip("fastapi", reason="needs the extra: pip install 'speechllm[serve]'")

from speechllm import config  # noqa: E402
from speechllm.decode.speech import Speech  # noqa: E402
from speechllm.models.system import System  # noqa: E402
from speechllm.serve import backends, run  # noqa: E402
from speechllm.serve.service import Service  # noqa: E402
from speechllm.serve.settings import Settings  # noqa: E402
from tests.serve.sounds import LONG, TOKEN, sound  # noqa: E402


@pytest.fixture(scope="session")
def speech(tiny):
    """Make a tiny model that says something else of each sound."""
    lively = config.changed(config.load(tiny / "tiny.toml"), ["llm.config.initializer_range=0.5"])
    system = System.open(lively, str(tiny / "bpe"))
    torch.manual_seed(0)
    return Speech(system, system.build())


@pytest.fixture(scope="session")
def backend(speech):
    return backends.Ours(speech)


@pytest.fixture(scope="session")
def serving(backend):
    """Return a context manager that serves with settings and gives (address, service)."""

    @contextlib.contextmanager
    def serve(one=None, **changes):
        values = {"port": 0, "name": "tiny", "vad": "energy", **changes}
        service = Service(one or backend, Settings(**values))
        with run.background(service) as address:
            yield address, service

    return serve


@pytest.fixture(scope="session")
def server(serving):
    """One server for all tests that change nothing in it: (address, service)."""
    with serving(token=TOKEN) as made:
        yield made


@pytest.fixture(scope="session")
def client(server):
    """Make OpenAI's client of that server."""
    import openai

    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key=TOKEN, max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def short() -> bytes:
    return sound((0.5, 1.5, 900), seconds=2)


@pytest.fixture(scope="session")
def long() -> bytes:
    return sound(*LONG, seconds=42, kind="FLAC")
