"""Many at one time: shared batches and no mixed answers; no place; who hangs up; SIGTERM."""

import contextlib
import gc
import http.client
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
import torch

from benchmarks import serve as bench
from speechllm.models import store
from speechllm.serve.engine import Job, Piece
from tests.serve.sounds import LONG, sound

AUDIO = "/v1/audio/transcriptions"


def until(true, seconds: float = 5.0) -> bool:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(now)


def test_many_share_batches_and_nobody_gets_another_s_answer(serving, tmp_path):
    files = []
    for i, hz in enumerate((200, 300, 500, 900, 1500, 2500, 4000)):
        files.append(tmp_path / f"{i}.wav")
        files[-1].write_bytes(sound((0.4, 1.0 + i / 4, hz), seconds=3))
    with serving() as (address, service):
        with httpx.Client(base_url=address) as alone:
            wanted = {path: bench.ask(alone, "tiny", path) for path in files}
        assert len(set(wanted.values())) > 3
        n = service.metrics.batch._sum.get()
        load = bench.load(address, "tiny", wanted, clients=6, seconds=3)
        assert not load.errors and not load.mixed and len(load.seconds) > 6
        batches = sum(bucket.get() for bucket in service.metrics.batch._buckets) - len(files)
        assert service.metrics.batch._sum.get() - n > batches  # some held several
        assert until(lambda: service.n_inside == 0) and not list(service._home.iterdir())


def test_nothing_of_a_request_stays(serving, short):
    """Neither its sound nor what was computed of it: memory stands still however many come."""
    kinds = torch.Tensor, np.ndarray, Piece, Job

    def held() -> int:
        gc.collect()
        return sum(issubclass(type(one), kinds) for one in gc.get_objects())

    with serving() as (address, service), httpx.Client(base_url=address) as client:
        numbers = []
        for _ in range(3):
            for _ in range(3):
                files = {"file": ("a", short)}
                assert client.post(AUDIO, files=files, data={"model": "tiny"}).status_code == 200
            assert until(lambda: service.n_inside == 0)
            numbers.append(held())
    assert numbers[2] <= numbers[1] + 4, numbers  # 9 requests; the last one's may still be there


class Held:
    """A backend that begins when it is let."""

    def __init__(self, backend):
        self._backend, self.go, self.began = backend, threading.Event(), threading.Event()
        self.n_steps = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def steps(self, *given):
        self.began.set()
        while not self.go.wait(0.01):
            self.n_steps += 1
            yield []
        return (yield from self._backend.steps(*given))


@pytest.fixture
def held(backend):
    return Held(backend)


def test_without_a_place_it_says_when_to_ask_again(serving, held, short):
    with serving(held, max_requests=3) as (address, service), ThreadPoolExecutor(3) as pool:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0)

        def ask():
            return client.audio.transcriptions.create(file=("a.wav", short), model="tiny").text

        inside = [pool.submit(ask) for _ in range(3)]
        assert until(lambda: service.n_inside == 3)
        for _ in range(20):
            with pytest.raises(openai.RateLimitError) as caught:
                client.audio.transcriptions.create(file=("a.wav", bytes(2_000_000)), model="tiny")
            assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
        assert service.n_inside == 3
        assert httpx.get(f"{address}/health").status_code == 200  # is never without a place
        held.go.set()
        assert len({one.result(20) for one in inside}) == 1
        client.close()


def test_who_hangs_up_is_worked_for_no_more(serving, held, long):
    with serving(held) as (address, service):
        body = (
            b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ntiny\r\n--x\r\n'
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + long
        )
        for more in (b"", b'\r\n--x\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue'):
            held.began.clear()
            line = http.client.HTTPConnection(address.removeprefix("http://"))
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            line.request("POST", AUDIO, body + more + b"\r\n--x--\r\n", kind)
            assert held.began.wait(10) and service.n_inside == 1
            line.close()
            assert until(lambda: service.n_inside == 0 and not service.engine.n_waiting)
            time.sleep(0.05)  # the step that ran
            n = held.n_steps
            time.sleep(0.1)
            assert held.n_steps == n  # its batch was left
        assert service.metrics.gone._value.get() == 2
        held.go.set()
        with httpx.Client(base_url=address) as client:  # others are answered as before
            files = {"file": ("a", long)}
            assert client.post(AUDIO, files=files, data={"model": "tiny"}, timeout=30).json()[
                "text"
            ]


def test_sigterm_finishes_what_runs_and_refuses_the_rest(speech, tmp_path):
    tensors = store.state(speech.system, speech.model, [["*"]])
    store.save(tmp_path / "tiny", speech.system, {"model": tensors}, {"trained": [["*"]]})
    many = [(a + 40 * k, b + 40 * k, hz) for k in range(4) for a, b, hz in LONG]
    data = sound(*many, seconds=162, kind="FLAC")
    with bench.server(str(tmp_path / "tiny"), "--device", "cpu", "--vad", "energy") as running:
        address, name, process = running
        with httpx.Client(base_url=address, timeout=60) as client:
            form = {"files": {"file": ("a", data)}, "data": {"model": name, "stream": "true"}}
            with client.stream("POST", AUDIO, **form) as answer:
                lines = answer.iter_lines()
                first = next(lines)
                assert "delta" in first
                process.send_signal(signal.SIGTERM)
                assert until(lambda: refused(address))
                assert process.poll() is None
                rest = [line for line in lines if line]
            assert "transcript.text.done" in rest[-1]
        assert process.wait(20) == 0


def refused(address: str) -> bool:
    """Say whether nobody is let in any more."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{address}/health").status_code == 503
    return True
