"""The WebSocket: what the model hears of the same chunks; who may not, nonsense, limits."""

import json

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from speechllm.decode.listeners import OfSpeech
from speechllm.decode.live import Live
from tests.serve.sounds import LONG, RATE, TOKEN, talk
from tests.serve.test_load import until

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def line(server, more: str = "model=tiny", headers=BEARER):
    address = server[0].replace("http", "ws")
    return connect(f"{address}/v1/audio/live?{more}", additional_headers=headers)


@pytest.fixture(scope="module")
def chunks() -> list[np.ndarray]:
    wave = talk(*LONG[:3], seconds=16)
    samples = (wave * 32767).astype("<i2")
    return [samples[i : i + 8000] for i in range(0, len(samples), 8000)]


def test_words_come_while_it_speaks(server, speech, chunks):
    live = Live(OfSpeech(speech), RATE, vad="energy")
    updates = [live(chunk) for chunk in chunks] + [live.flush()]
    wanted = [word.text for update in updates for word in update.final]
    with line(server) as open_line:
        for chunk in chunks:
            open_line.send(chunk.tobytes())
        open_line.send('{"type": "end"}')
        messages = list(map(json.loads, open_line))
    finals = [message for message in messages if message["type"] == "final"]
    assert " ".join(one["text"] for one in finals) == " ".join(wanted) and wanted
    assert any(message["type"] == "partial" for message in messages)
    assert messages[-1] == {"type": "done", "text": " ".join(wanted)}
    words = [word for one in finals for word in one["words"]]
    assert [word["word"] for word in words] == wanted
    assert until(lambda: server[1].n_inside == 0)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"},
                                     {**BEARER, "Origin": "https://evil.example"}])  # fmt: skip
def test_who_may_not_is_not_let_in(server, headers):
    with pytest.raises(InvalidStatus) as caught, line(server, headers=headers):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(("more", "message", "word"), [
    ("model=other", None, "no model"),
    ("", None, "no model"),
    ("model=tiny&sampling_rate=1", None, "sampling_rate"),
    ("model=tiny&sampling_rate=" + "9" * 50, None, "sampling_rate"),
    ("model=tiny&language=klingon", None, "klingon"),
    ("model=tiny&file=/etc/passwd", None, "no setting"),
    ("model=tiny", b"\x01", "odd number"),
    ("model=tiny", "[" * 5000, "wanted samples"),
    ("model=tiny", '{"type": "open", "path": "/etc/passwd"}', "wanted samples"),
])  # fmt: skip
def test_nonsense_is_said_and_the_line_closed(server, more, message, word):
    with line(server, more) as open_line:
        if message is not None:
            open_line.send(message)
        said = json.loads(open_line.recv(timeout=5))
        assert said["type"] == "error" and word in said["error"]["message"]
        with pytest.raises(ConnectionClosed):
            open_line.recv(timeout=5)


def test_messages_and_lines_have_limits(serving, chunks):
    with serving(max_duration_s=1.0, body_s=0.5) as server:
        with line(server) as open_line:
            open_line.send(bytes(2 << 20))
            with pytest.raises(ConnectionClosed):
                open_line.recv(timeout=5)
        with line(server) as open_line:
            for chunk in chunks[:4]:
                open_line.send(chunk.tobytes())
            said = []
            with pytest.raises(ConnectionClosed):
                while True:
                    said.append(json.loads(open_line.recv(timeout=5)))
            assert "at most 1 s" in said[-1]["error"]["message"]
        with line(server) as open_line:  # says nothing
            assert "too long" in json.loads(open_line.recv(timeout=5))["error"]["message"]
        assert until(lambda: server[1].n_inside == 0)


def test_who_hangs_up_gives_the_place_back(serving, chunks):
    with serving(max_requests=1) as server:
        with line(server) as open_line:
            open_line.send(chunks[0].tobytes())
            with line(server) as other:
                assert json.loads(other.recv(timeout=5))["error"]["code"] == "rate_limit_exceeded"
        assert until(lambda: server[1].n_inside == 0)
