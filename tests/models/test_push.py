"""`speechllm export --push` against an endpoint of our own: what it is sent, what it refuses."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from speechllm.cli.export import push


class Hub(BaseHTTPRequestHandler):
    """The few routes of the Hub that an upload asks."""

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):  # noqa: N802  # the library's name
        self._say({"id": "me/slam", "sha": "0" * 40, "siblings": []})

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = self.server.seen
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self._say({"error": "Invalid credentials"}, 401)
        if self.path.endswith("/repos/create"):
            seen["made"] = json.loads(body)
            return self._say({"url": f"{self.server.address}/me/slam"})
        if self.path.endswith("/validate-yaml"):  # of the card
            return self._say({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            told = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in files]  # fmt: skip
            return self._say({"files": told})
        if "/commit/" in self.path:
            lines = [json.loads(line) for line in body.split(b"\n") if line]
            for line in lines:
                if line["key"] == "file":
                    value = line["value"]
                    seen["files"][value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/me/slam/commit/{'1' * 40}"
            return self._say({"commitUrl": url, "commitOid": "1" * 40, "success": True})
        return self._say({"error": f"no route {self.path}"}, 404)

    def _say(self, values: dict, status: int = 200) -> None:
        data = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.seen = {"files": {}}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out" / "lora").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("# slam\n")
    (tmp_path / "out" / "lora" / "adapter_config.json").write_text("{}")
    return tmp_path / "out"


def test_a_folder_is_sent_whole_and_private(hub, folder):
    assert push(folder, "me/slam") == f"{hub.address}/me/slam"
    made = hub.seen["made"]
    assert made.get("private") is True or made.get("visibility") == "private"
    assert hub.seen["files"] == {"README.md": b"# slam\n", "lora/adapter_config.json": b"{}"}


def test_what_the_hub_refuses_is_one_line(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ValueError, match="--push me/slam: the Hub did not take it") as caught:
        push(folder, "me/slam")
    assert "\n" not in str(caught.value)
