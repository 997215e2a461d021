"""Attempts to keep the server busy with little: slow heads, endless bodies, small files of much."""

import base64
import gzip
import json
import socket
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.serve.sounds import TOKEN
from tests.serve.test_attempts import AUDIO, BEARER, CHAT, flac, heard, post, says, silent

QUESTIONS = "/v1/chat/completions"


def line_to(server) -> socket.socket:
    host, port = server[0].removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def closed_after(line: socket.socket, dripping: bytes, most_s: float) -> float:
    """Send one byte again and again; gives the seconds until the server has hung up."""
    began = time.monotonic()
    line.settimeout(0.02)
    while time.monotonic() < began + most_s:
        try:
            line.send(dripping)
            if line.recv(1000) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def test_heads_that_never_end_are_hung_up(serving, short):
    """Also the second on a line that was answered once; who waits holds no place."""
    with serving(head_s=0.5, max_requests=1) as server:
        lines = [line_to(server) for _ in range(30)]
        for line in lines:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        assert post(server, short).status_code == 200
        with lines[0] as line:
            assert closed_after(line, b"a", 5) < 3
        with line_to(server) as line:  # says nothing at all
            line.settimeout(5)
            assert line.recv(10) == b""
        with line_to(server) as line:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in line.recv(10_000)
            line.sendall(b"GET /hea")
            assert closed_after(line, b"a", 5) < 3
        for line in lines:
            line.close()


def test_heads_of_no_end_are_refused(server):
    start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    many = b"".join(b"X-%d: a\r\n" % i for i in range(20_000))
    for head in (start + b"X-A: " + b"a" * 200_000, start + many, b"GET /" + b"a" * 200_000):
        began = time.monotonic()
        with line_to(server) as line:
            try:
                line.sendall(head)
                said = line.recv(100)
            except OSError:  # hung up before all was sent
                said = b""
            assert not said or said.split()[1] in (b"400", b"431")
        assert time.monotonic() - began < 3
    assert httpx.get(f"{server[0]}/health").status_code == 200


def test_bodies_that_drip_or_never_end(serving):
    with serving(max_bytes=50_000, body_s=0.5, head_s=0.5) as server:
        head = f"POST {QUESTIONS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        with line_to(server) as line:
            line.sendall(head.encode())
            assert closed_after(line, b"1\r\n{\r\n", 8) < 5

        def endless():
            while True:
                yield b'{"messages": "' + b"x" * 10_000

        try:
            answer = httpx.post(server[0] + QUESTIONS, content=endless(), timeout=10)
            assert answer.status_code == 413
        except httpx.NetworkError:
            pass  # hung up before all was sent
        deadline = time.monotonic() + 5
        while server[1].n_inside and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not server[1].n_inside


@pytest.mark.parametrize("body", [
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    json.dumps(CHAT).encode()[:-1] + b', "structured_outputs": ' + b'{"choice":' * 9_000
    + b"1" + b"}" * 9_001,
    json.dumps(CHAT).encode()[:-1] + b', "seed": ' + b"9" * 100_000 + b"}",
    json.dumps({**CHAT, "messages": [{"role": "user", "content": [[]] * 50_000}]}).encode(),
    gzip.compress(json.dumps(CHAT).encode()),
])  # fmt: skip
def test_json_of_much_is_refused_at_once(server, body):
    headers = {**BEARER, "Content-Type": "application/json", "Content-Encoding": "gzip"}
    began = time.monotonic()
    answer = httpx.post(server[0] + QUESTIONS, headers=headers, content=body)
    assert answer.status_code == 400 and time.monotonic() - began < 2
    silent(answer.json())


def test_forms_of_thousands_of_files_are_refused_at_once(server):
    part = b'--x\r\nContent-Disposition: form-data; name="f%d"; filename="a"\r\n\r\nRIFF\r\n'
    body = b"".join(part % i for i in range(5_000)) + b"--x--\r\n"
    headers = {**BEARER, "Content-Type": "multipart/form-data; boundary=x"}
    began = time.monotonic()
    answer = httpx.post(server[0] + AUDIO, headers=headers, content=body)
    assert answer.status_code == 400 and time.monotonic() - began < 2
    silent(answer.json())


def test_a_sound_that_does_not_say_how_long_it_is(serving):
    """An hour of silence in 200 kB whose header has no length, as of a pipe: in forms and chats."""
    bomb = bytearray(flac(3600))
    bomb[21] &= 0xF0  # of STREAMINFO: 36 bits, the number of samples
    bomb[22:26] = bytes(4)
    told = says(heard(base64.b64encode(bytes(bomb)).decode()))
    with serving(max_duration_s=60.0, max_chat_s=5.0) as server:
        began = time.monotonic()
        answers = [post(server, bytes(bomb)), httpx.post(server[0] + QUESTIONS, json=told)]
        told = says(*[heard(base64.b64encode(flac(3)).decode())] * 2)
        answers.append(httpx.post(server[0] + QUESTIONS, json=told))
        for answer in answers:
            assert answer.status_code == 400 and " s" in answer.text, answer.text
            silent(answer.json())
        assert time.monotonic() - began < 15
        assert not server[1].n_inside


def test_a_message_that_unpacks_to_much_ends_its_line(server):
    address = server[0].replace("http", "ws") + "/v1/audio/live?model=tiny&sampling_rate=16000"
    protocols = ["speechllm", f"openai-insecure-api-key.{TOKEN}"]
    with (
        pytest.raises(ConnectionClosed) as ended,
        connect(address, subprotocols=protocols, compression="deflate") as line,
    ):
        line.send(bytes(100_000_000))  # a tenth of a MB on the way
        for _ in range(100):
            line.recv(timeout=10)
    assert ended.value.rcvd is None or ended.value.rcvd.code == 1009
    assert httpx.get(f"{server[0]}/health").json() == {"status": "ok"}
