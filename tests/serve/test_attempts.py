"""Attempts to get in, to make the server open something, to fill it, to make it tell of itself."""

import io
import json
import pickle
import socket
import struct
import time
import zipfile

import httpx
import numpy as np
import pytest
import soundfile

from speechllm import cli
from speechllm.serve.settings import Settings, read_token
from tests.serve.sounds import RATE, TOKEN

AUDIO = "/v1/audio/transcriptions"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
INSIDE = ("Traceback", ".py", "/tmp", "site-packages", "speechllm-", "root", 'File "')


def silent(data: dict | str) -> None:
    """Hold that an error says nothing of the inside."""
    text = data if isinstance(data, str) else json.dumps(data)
    assert "error" in text and len(text) < 800
    assert not [word for word in INSIDE if word in text], text


def post(server, file=b"RIFF", headers=BEARER, model="tiny", name="a.wav", **more):
    files = {"file": (name, file)} if isinstance(file, bytes) else None
    data = {"model": model, **({"file": file} if isinstance(file, str) else {}), **more}
    return httpx.post(server[0] + AUDIO, headers=headers, files=files, data=data, timeout=30)


@pytest.mark.parametrize("headers", [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
    {"Authorization": "Bearer"},
    {"Cookie": f"token={TOKEN}"},
    {"X-Forwarded-For": "127.0.0.1"},
])  # fmt: skip
def test_no_token_no_answer(server, short, headers):
    for answer in (
        post(server, short, headers=headers),
        httpx.get(f"{server[0]}/v1/models?token={TOKEN}", headers=headers),
        httpx.get(f"{server[0]}/metrics", headers=headers),
        httpx.post(f"{server[0]}/v1/chat/completions", headers=headers, json={}),
        httpx.get(f"{server[0]}//health/../v1/models", headers=headers),
    ):
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        silent(answer.json())


@pytest.mark.parametrize("headers", [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example:8000"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "file://"},
])  # fmt: skip
def test_pages_of_other_sites_are_refused(server, short, headers):
    answer = post(server, short, headers={**BEARER, **headers})
    assert answer.status_code == 403
    silent(answer.json())


def test_pages_of_this_machine_are_not(server, short):
    headers = {**BEARER, "Origin": "http://localhost:3000", "Host": "LocalHost:8000"}
    assert post(server, short, headers=headers).status_code == 200


def test_who_may_ask_is_said_before_it_starts(tmp_path, capsys):
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        with pytest.raises(ValueError, match="--token-file"):
            Settings(host=host)
    Settings(host="0.0.0.0", token=TOKEN)
    for text in ("", "short", "a b" * 20 + "\n" + "c" * 20, "é" * 30, "a" * 20 + "\x07"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(ValueError, match="token"):
            read_token(tmp_path / "token")
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert read_token(tmp_path / "token") == TOKEN
    assert cli.main(["serve", "whatever", "--host", "0.0.0.0"]) == 2
    assert "--token-file" in capsys.readouterr().err


def test_what_is_too_large_is_not_read(serving, short):
    with serving(max_bytes=60_000) as server:
        assert len(short) > 60_000
        answer = post(server, short)
        assert answer.status_code == 413
        silent(answer.json())

        def chunks():  # no length is said
            yield b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
            for _ in range(100):
                yield b"0" * 1000

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = httpx.post(server[0] + AUDIO, headers=headers, content=chunks())
        assert answer.status_code == 413
        for lie in ("9" * 19, "9" * 30, "-1", "1e3", "0x10"):
            assert raw(server, f"Content-Length: {lie}") in (400, 413)
        chat = {"model": "tiny", "messages": [{"role": "user", "content": "x" * 70_000}]}
        assert httpx.post(f"{server[0]}/v1/chat/completions", json=chat).status_code == 413


def raw(server, header: str) -> int:
    """Send a head that no client would, and give the status."""
    host, port = server[0].removeprefix("http://").split(":")
    kind = "Content-Type: multipart/form-data; boundary=x"
    with socket.create_connection((host, int(port)), timeout=5) as line:
        head = f"POST {AUDIO} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\n{header}\r\n\r\n--x"
        line.sendall(head.encode())
        return int(line.recv(1000).split()[1])


def flac(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(seconds * RATE), np.int16), RATE, format="FLAC")
    return file.getvalue()


def test_a_small_file_of_a_long_sound_is_not_decoded(serving):
    with serving(max_duration_s=60.0) as server:
        bomb = flac(3600)
        assert len(bomb) < 300_000
        answer = post(server, bomb)
        assert answer.status_code == 400 and "lasts 3600 s" in answer.text
        header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 2**32 - 9, b"WAVE", b"fmt ", 16, 1,
                             1, RATE, 2 * RATE, 2, 16, b"data", 2**32 - 45)  # fmt: skip
        answer = post(server, header + bytes(1000))
        assert answer.status_code in (200, 400)  # a header that lies: what is there, or damaged


def test_a_file_that_wants_too_much_memory_ends_its_process_alone(serving, short):
    with serving(memory_mb=1) as server:
        answer = post(server, flac(120))
        assert answer.status_code == 400 and "memory" in answer.text
        silent(answer.json())
        assert httpx.get(f"{server[0]}/health").json() == {"status": "ok"}
    with serving() as server:
        server[1].decoders._process.kill()
        assert post(server, short).status_code == 200


ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as _zip:
    _zip.writestr("a.wav", b"RIFF")


@pytest.mark.parametrize("data", [
    b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    b"https://127.0.0.1/x.wav",
    b"/etc/passwd",
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>",
    b"\x7fELF\x02\x01\x01" + bytes(100),
    pickle.dumps({"a": 1}),
    ZIP.getvalue(),
    b"",
    bytes(5000),
])  # fmt: skip
def test_what_is_no_sound_is_not_opened(server, data):
    answer = post(server, data)
    assert answer.status_code == 400 and "none of wav" in answer.text
    silent(answer.json())


@pytest.mark.parametrize("data", [
    b"RIFF\x10\x00\x00\x00WAVE" + bytes(40),
    b"fLaC" + bytes(100),
    b"OggS" + b"\xff" * 300,
    b"\x00\x00\x00\x20ftypM4A " + b"\xff" * 500,
    b"\x1a\x45\xdf\xa3" + b"\x01" * 500,
    b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(100),
    b"\xff\xfb" + b"\x90\x64" * 300,
    b"#!AMR\n" + b"#EXTM3U\nfile:///etc/passwd\n",
    b"NIST_1A\n   1024\nsample_count -i 99999999999\nend_head\n" + bytes(2000),
])  # fmt: skip
def test_what_is_damaged_is_said_so(server, data):
    answer = post(server, data)
    assert answer.status_code == 400
    silent(answer.json())


def test_no_name_of_a_client_is_opened(server, short):
    for name in ("../../etc/passwd", "/etc/passwd", "a\0b", "http://127.0.0.1/a.wav", "x" * 300):
        answer = post(server, b"no sound", name=name.replace("\0", "%00"))
        assert answer.status_code == 400 and "none of wav" in answer.text, name
        assert post(server, short, name=name.replace("\0", "%00")).status_code == 200
    for word in ("/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/a.wav"):
        answer = post(server, word)
        assert answer.status_code == 400
        silent(answer.json())


def test_no_model_is_chosen_by_a_path(server, short):
    for name in ("other", "../tiny", "/etc", "./tiny", "openai/whisper-tiny", "", "tiny\n"):
        answer = post(server, short, model=name)
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
        silent(answer.json())
    for path in ("/v1/models/../../etc/passwd", "/v1/models/%2e%2e%2fetc", "/docs", "/openapi.json",
                 "/redoc", "/v1/files", "/static/../../etc/passwd", "/.env"):  # fmt: skip
        answer = httpx.get(server[0] + path, headers=BEARER)
        assert answer.status_code == 404, path
        silent(answer.json())


CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "say"}]}


def says(*parts) -> dict:
    return {**CHAT, "messages": [{"role": "user", "content": list(parts)}]}


def heard(data: str) -> dict:
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


@pytest.mark.parametrize("body", [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"model": "tiny", "messages": 1e999}',
    json.dumps({**CHAT, "max_tokens": -1}),
    json.dumps({**CHAT, "seed": 2**70}),
    json.dumps({**CHAT, "temperature": "NaN"}),
    json.dumps({**CHAT, "messages": [{"role": "root", "content": "x"}]}),
    json.dumps({**CHAT, "messages": CHAT["messages"] * 100}),
    json.dumps(says(*[{"type": "text", "text": "x"}] * 100)),
    json.dumps(says(heard("file:///etc/passwd"))),
    json.dumps(says(heard("https://127.0.0.1:1/a.wav"))),
    json.dumps(says(heard("L2V0Yy9wYXNzd2Q="))),
    json.dumps(says({"type": "input_audio", "input_audio": {"url": "/etc/passwd"}})),
    json.dumps(says({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})),
    json.dumps(says({"type": "audio", "audio": "/etc/passwd"})),
    json.dumps(says({"type": "file", "path": "/etc/passwd"})),
])  # fmt: skip
def test_conversations_open_nothing(server, body):
    headers = {**BEARER, "Content-Type": "application/json"}
    answer = httpx.post(f"{server[0]}/v1/chat/completions", headers=headers, content=body)
    assert answer.status_code == 400, answer.text
    silent(answer.json())


def test_forms_of_no_end_are_refused(server):
    many = {f"f{i}": "x" for i in range(1000)}
    assert post(server, b"RIFF", **many).status_code == 400
    assert post(server, b"RIFF", language="x" * 100_000).status_code == 400
    for kind in ("multipart/form-data", "application/json", "text/plain"):
        headers = {**BEARER, "Content-Type": kind}
        answer = httpx.post(server[0] + AUDIO, headers=headers, content=b"{}")
        assert answer.status_code == 400
        silent(answer.json())
    files = [("file", ("a", b"x")), ("file", ("b", b"y"))]
    answer = httpx.post(server[0] + AUDIO, headers=BEARER, files=files, data={"model": "tiny"})
    assert answer.status_code == 400


def test_a_body_that_never_comes_gives_its_place_back(serving, short):
    with serving(body_s=0.3, max_requests=1) as server:
        assert raw(server, "Content-Length: 1000") == 408
        deadline = time.monotonic() + 5
        while server[1].n_inside and time.monotonic() < deadline:
            time.sleep(0.02)
        assert post(server, short).status_code == 200


def test_what_breaks_inside_stays_inside(serving, backend, short):
    class Broken(type(backend)):
        def steps(self, *given):
            raise RuntimeError("secret of /root/model.py")
            yield

    with serving(Broken(backend.speech)) as server:
        for answer in (
            post(server, short),
            httpx.post(f"{server[0]}/v1/chat/completions", json=CHAT),
        ):
            assert answer.status_code == 500 and "secret" not in answer.text
            silent(answer.json())
        assert post(server, short, stream="true").text.count("secret") == 0
        assert httpx.get(f"{server[0]}/health").status_code == 200
