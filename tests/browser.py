"""Debian's chromium for tests: opens a page, asks it, looks at it; by its own DevTools protocol.

with browser.page(address, width=420, dark=True) as page:
    page.ask("document.title")
    page.picture(path)
"""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needed = pytest.mark.skipif(not CHROMIUM, reason="needs chromium: apt-get install chromium")
START_S = 60


class Page:
    """One open page.

    Attributes:
        asked: addresses that it has asked for, itself first.
        faults: what its scripts threw, and what its console called an error.
    """

    def __init__(self, line):
        self._line, self._numbers = line, itertools.count(1)
        self.asked: list[str] = []
        self.faults: list[str] = []

    def call(self, method: str, **values) -> dict:
        """Call a method of the protocol."""
        number = next(self._numbers)
        self._line.send(json.dumps({"id": number, "method": method, "params": values}))
        while (message := json.loads(self._line.recv(timeout=60))).get("id") != number:
            self._note(message)
        assert "error" not in message, message
        return message["result"]

    def _note(self, message: dict) -> None:
        name, values = message.get("method"), message.get("params", {})
        if name == "Network.requestWillBeSent":
            self.asked.append(values["request"]["url"])
        elif name == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(values["exceptionDetails"])[:500])
        elif name == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.faults.append(values["entry"]["text"])

    def ask(self, expression: str):
        """Give what an expression of JavaScript is; a promise is waited for."""
        how = {"returnByValue": True, "awaitPromise": True}
        done = self.call("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, expression: str, seconds: float = 20.0):
        """Wait until an expression is true; gives it."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"{expression}: never; {self.faults}"
            time.sleep(0.05)
        return value

    def picture(self, path: Path) -> None:
        """Write what is seen as PNG."""
        shot = self.call("Page.captureScreenshot")
        Path(path).write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def page(
    address: str, width: int = 1200, height: int = 900, dark: bool = False, options: tuple = ()
) -> Iterator[Page]:
    """Open a page, its load waited for; `options` are chromium's own."""
    from websockets.sync.client import connect

    with tempfile.TemporaryDirectory() as profile:
        words = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--remote-debugging-port=0", f"--user-data-dir={profile}", *options,
                 "about:blank"]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_line(Path(profile), process), max_size=None) as line:
                one = Page(line)
                for name in ("Network", "Runtime", "Log", "Page"):
                    one.call(f"{name}.enable")
                one.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                         deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                one.call("Emulation.setEmulatedMedia", features=[scheme])
                one.call("Page.navigate", url=address)
                one.until("location.href !== 'about:blank' && document.readyState === 'complete'")
                yield one
        finally:
            ended = process.poll() is not None
            helpers = [] if ended else psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(20)
            psutil.wait_procs(helpers, 20)  # who goes on a moment still writes into the profile


def _line(profile: Path, process: subprocess.Popen) -> str:
    """Give the address of the first page's line."""
    import httpx

    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError, StopIteration, httpx.HTTPError):
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            pages = httpx.get(f"http://127.0.0.1:{port}/json").json()
            return next(one["webSocketDebuggerUrl"] for one in pages if one["type"] == "page")
        time.sleep(0.05)
    raise RuntimeError("chromium did not start")
