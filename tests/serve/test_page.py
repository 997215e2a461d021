"""The page in a real browser: what it hears by microphone and in files, and whom it asks."""

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests import browser
from tests.serve.sounds import TOKEN, sound

WORDS = "document.getElementById('said').innerText.trim()"
FAKE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        "--autoplay-policy=no-user-gesture-required")  # fmt: skip
DRAWN = """(() => { const c = document.getElementById('spectrogram');
  return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 60 && v < 250)
})()"""


def click(name: str) -> str:
    return f"document.getElementById('{name}').click()"


@pytest.fixture(scope="module")
def paged(serving):
    with serving(page=True, token=TOKEN) as (address, _):
        yield address


@pytest.fixture
def talk(tmp_path):
    (tmp_path / "talk.wav").write_bytes(sound((0.5, 1.6, 900), (2.6, 3.9, 2500), seconds=5))
    return tmp_path / "talk.wav"


def enter(page) -> None:
    page.until("!document.getElementById('door').hidden")
    page.ask(f"document.getElementById('token').value = '{TOKEN}'")
    page.ask("document.querySelector('#door button').click()")
    page.until("!document.getElementById('hearing').hidden")


def choose(page, path, box: str = "file") -> None:
    """Choose a file, as a user does."""
    found = page.call("Runtime.evaluate", expression=f"document.getElementById('{box}')")
    page.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])


def test_without_the_option_there_is_none(server):
    for path in ("/", "/page.js"):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(server[0] + path, headers=headers).status_code == 404
        assert httpx.get(server[0] + path).status_code == 401


def test_its_files_say_what_a_browser_may_do(paged):
    for path in ("/", "/page.css", "/page.js", "/worklet.js"):
        answer = httpx.get(paged + path)
        assert answer.status_code == 200 and "http" not in answer.text.replace("/^http/", "")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    for path in ("/page.py", "/assets/page.js", "/../page.py", "//etc/passwd", "/page.html"):
        assert httpx.get(paged + path).status_code == 401


def test_a_browser_s_line_brings_the_token_among_its_protocols(paged):
    address = f"{paged.replace('http', 'ws')}/v1/audio/live?model=tiny"
    bearer = f"openai-insecure-api-key.{TOKEN}"
    with connect(address, subprotocols=["speechllm", bearer]) as line:
        assert line.subprotocol == "speechllm"
    for wrong in ([], [bearer[:-1]], [bearer + "x"], ["openai-insecure-api-key."], [TOKEN]):
        with pytest.raises(InvalidStatus):
            connect(address, subprotocols=["speechllm", *wrong])


def test_several_answers_are_for_verbose_json_alone(server):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for more in ({}, {"response_format": "verbose_json", "stream": "true"}, {"n_best": "99"}):
        data = {"model": "tiny", "n_best": "3", **more}
        files = {"file": sound((0.5, 1.5, 900), seconds=2)}
        answer = httpx.post(
            f"{server[0]}/v1/audio/transcriptions", headers=headers, data=data, files=files
        )
        assert answer.status_code == 400 and "n_best" in answer.json()["error"]["message"]


@browser.needed
def test_a_file_is_heard_asked_about_and_fits_a_telephone(paged, talk, tmp_path):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    said = httpx.post(
        f"{paged}/v1/audio/transcriptions",
        headers=headers,
        files={"file": talk.read_bytes()},
        data={"model": "tiny", "response_format": "verbose_json", "n_best": "3"},
        timeout=30,
    ).json()
    alternatives = [one["text"] for part in said["segments"] for one in part["alternatives"]]
    assert said["text"] and len(alternatives) > 1
    with browser.page(paged, width=420, dark=True) as page:
        enter(page)
        page.ask("document.getElementById('best').value = '3'")
        choose(page, talk)
        shown = page.until(f"({WORDS}.match(/^(\\.\\.\\.|)$/) ? '' : {WORDS})")
        assert shown.split() == said["text"].split()
        assert page.ask("document.querySelectorAll('#said span.seekable').length") > 1
        assert page.ask("document.querySelectorAll('#others li').length") == len(alternatives)
        page.until(DRAWN)
        page.until("document.getElementById('player').duration > 4.9")
        page.ask("document.getElementById('question').value = 'say'")
        page.ask("document.querySelector('#ask button').click()")
        answer = "document.getElementById('answer').innerText.trim()"
        page.until(f"!{answer}.match(/^(\\.\\.\\.|)$/)")
        assert page.ask("document.documentElement.scrollWidth") == 420
        assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
        (tmp_path / "bad.wav").write_bytes(b"RIFF....WAVE<b>")
        choose(page, tmp_path / "bad.wav")
        assert "sound" in page.until("document.getElementById('trouble').innerText")
        elsewhere = [url for url in page.asked if not url.startswith((paged, "blob:", "data:"))]
        assert not elsewhere
        assert not [one for one in page.faults if "40" not in one]  # 401 and 400 are asked for


@browser.needed
def test_the_microphone_is_heard_while_somebody_speaks(paged, talk):
    with browser.page(paged, options=(*FAKE, f"--use-file-for-fake-audio-capture={talk}")) as page:
        enter(page)
        page.ask(click("record"))
        page.until("document.querySelectorAll('#said span').length > 1", 30)
        page.until(DRAWN)
        page.ask(click("record"))
        page.until("document.getElementById('record').innerText === 'Speak'", 30)
        assert len(page.ask(WORDS).split()) > 1
        assert page.ask("[...document.querySelectorAll('#said span')].every(one => one.title)")
        page.until("document.getElementById('player').duration > 1")
        assert not [one for one in page.faults if "401" not in one]
