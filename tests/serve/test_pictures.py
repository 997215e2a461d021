"""Questions about pictures: a `data:` URL is looked at, no other is opened, limits as of sounds."""

import base64
import io
import socket
import struct
import zlib

import numpy as np
import openai
import pytest
from PIL import Image

from speechllm import config
from speechllm.decode.requests import Request
from speechllm.decode.speech import Speech
from speechllm.models import tiny as forms
from speechllm.serve import backends
from tests import browser
from tests.serve.test_attempts import silent
from tests.serve.test_page import choose


@pytest.fixture(scope="module")
def seeing():
    """A model that sees and does not hear, in its tiny form."""
    system = forms.system(config.load("llava"))
    return Speech(system, system.build())


@pytest.fixture(scope="module")
def client(serving, seeing):
    with serving(backends.Ours(seeing), max_pixels=300_000) as (address, _):
        with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as made:
            yield made


def picture(seed: int, size=(108, 108), kind="PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def url(data: bytes, kind="image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def asked(*urls: str, words: str = "where?") -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": one}} for one in urls]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]


def test_a_picture_is_looked_at(client, seeing):
    texts = set()
    for seed in range(5):
        data = picture(seed)
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        parts = [{"type": "image"}, {"type": "text", "text": "where?"}]
        request = Request([], [{"role": "user", "content": parts}], pictures=[pixels])
        wanted = seeing.answers([request], [12])[0].text
        said = client.chat.completions.create(
            model="tiny", messages=asked(url(data)), max_tokens=12
        )
        assert said.choices[0].message.content == wanted
        texts.add(wanted)
    assert len(texts) > 1  # it depends on what is seen
    pieces = client.chat.completions.create(
        model="tiny", messages=asked(url(data)), max_tokens=12, stream=True
    )
    assert "".join(one.choices[0].delta.content or "" for one in pieces) == wanted


def refused(client, *urls: str) -> str:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=asked(*urls), max_tokens=2)
    silent(caught.value.response.json())
    return caught.value.response.json()["error"]["message"]


def test_no_address_is_opened(client, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(0))
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(0.2)
        here = f"127.0.0.1:{door.getsockname()[1]}/a.png"
        for address in (f"http://{here}", f"https://{here}", f"//{here}", f"ftp://{here}",
                        f"file://{tmp_path}/a.png", str(tmp_path / "a.png"), "",
                        f"data:image/png,http://{here}", "data:a;base64;x,aGk="):  # fmt: skip
            assert "wanted data:image/" in refused(client, address), address
        with pytest.raises(TimeoutError):
            door.accept()


def header(width: int, height: int) -> bytes:
    """The head of a PNG that says how large it is, and nothing in it."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", zlib.crc32(b"IHDR" + size))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + size + end


@pytest.mark.parametrize(("data", "word"), [
    (b"<svg><image href='file:///etc/passwd'/></svg>", "none of"),
    (b"RIFF\x10\x00\x00\x00WAVE" + bytes(40), "none of png"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n", "none of png"),
    (b"", "none of png"),
    (header(100, 100), "picture: "),
    (header(60_000, 60_000), "picture: "),
    (picture(0, (600, 501)), "300,000 are taken"),
    (picture(0)[:-2000], "picture: "),
])  # fmt: skip
def test_what_is_no_picture_or_too_large(client, data, word):
    assert word in refused(client, url(data))


def test_all_pictures_together_have_a_limit(client):
    large = url(picture(0, (400, 400)))
    assert "are taken" in refused(client, large, large)
    assert "wanted base64" in refused(client, "data:image/png;base64,%%%")


def test_a_model_that_only_sees_is_not_spoken_to(client):
    part = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    with pytest.raises(openai.BadRequestError, match="this model takes image_url, text"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [part]}])
    with pytest.raises(openai.BadRequestError, match="hears nothing"):
        client.audio.transcriptions.create(file=("a.wav", b"RIFF"), model="tiny")


@browser.needed
def test_the_page_asks_about_a_picture(serving, seeing, tmp_path):
    """It is shown, looked at and answered about; a sound there is none to choose."""
    (tmp_path / "a.png").write_bytes(picture(3))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    parts = [{"type": "image"}, {"type": "text", "text": "where?"}]
    request = Request([], [{"role": "user", "content": parts}], pictures=[pixels])
    wanted = seeing.answers([request], [12])[0].text
    answer = "document.getElementById('answer').innerText.trim()"
    with (
        serving(backends.Ours(seeing), page=True, max_tokens=12) as (address, _),
        browser.page(address, width=420) as page,
    ):
        page.until("!document.getElementById('seeing').hidden")
        assert page.ask("document.getElementById('hearing').hidden")
        choose(page, tmp_path / "a.png", "picture")
        page.until("document.getElementById('seen').naturalWidth === 108")
        page.ask("document.getElementById('question').value = 'where?'")
        page.ask("document.querySelector('#ask button').click()")
        page.until("!document.querySelector('#ask button').disabled")
        assert page.ask(answer).split() == wanted.split() and wanted
        assert page.ask("document.documentElement.scrollWidth") == 420 and not page.faults
        choose(page, tmp_path / "bad.png", "picture")
        page.ask("document.querySelector('#ask button').click()")
        assert "picture" in page.until("document.getElementById('trouble').innerText")
        assert not [url for url in page.asked if not url.startswith((address, "blob:", "data:"))]
