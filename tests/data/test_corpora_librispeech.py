"""The LibriSpeech tree: all suffixes, faults with file and line, a download that breaks."""

import hashlib
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest
import soundfile

from speechllm.data.corpora import librispeech
from speechllm.data.corpora._download import Archive, fetch
from speechllm.data.manifest import Manifest


def tree(folder, split="dev-clean", suffix=".flac"):
    chapter = folder / split / "84" / "121123"
    chapter.mkdir(parents=True)
    rate = 48000 if suffix == ".opus" else 16000
    for number in range(3):
        wave = np.random.default_rng(number).uniform(-0.1, 0.1, rate * (number + 1) // 2)
        options = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
        soundfile.write(chapter / f"84-121123-000{number}{suffix}", wave, rate, **options)
    lines = [f"84-121123-000{number} HELLO WORLD {number}\n" for number in range(3)]
    (chapter / "84-121123.trans.txt").write_text("".join(lines))
    return chapter


@pytest.mark.parametrize("suffix", librispeech.SUFFIXES)
def test_tree(tmp_path, suffix):
    tree(tmp_path / "LibriSpeech", suffix=suffix)
    tree(tmp_path / "LibriSpeech", split="train-clean-5", suffix=suffix)
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("; comment\n84 | F | dev-clean | 8 | X")
    paths = librispeech.Config(corpus=str(tmp_path), out=str(tmp_path / "out")).prepare()
    assert sorted(paths) == ["dev-clean", "train-clean-5"]
    rows = Manifest(paths["dev-clean"])
    assert rows.ids == [f"84-121123-000{number}" for number in range(3)]
    np.testing.assert_allclose(rows.durations, [0.5, 1.0, 1.5], atol=1e-6)
    assert rows[1]["text"] == "HELLO WORLD 1"
    assert rows[1]["speaker"] == "84" and rows[1]["gender"] == "F" and rows[1]["lang"] == "en"
    one = librispeech.Config(
        corpus=str(tmp_path), out=str(tmp_path / "one"), splits=("dev-clean",)
    ).prepare()
    assert list(one) == ["dev-clean"]


def test_faults_are_listed_with_file_and_line(tmp_path):
    chapter = tree(tmp_path / "corpus")
    (chapter / "84-121123-0001.flac").rename(chapter / "84-121123-0009.flac")
    (chapter / "84-121123-0002.flac").write_bytes(b"")
    with open(chapter / "84-121123.trans.txt", "a") as file:
        file.write("84-121123-0000 AGAIN\n")
    out = tmp_path / "out"
    with pytest.raises(ValueError) as caught:
        librispeech.Config(corpus=str(tmp_path / "corpus"), out=str(out)).prepare()
    message = str(caught.value)
    assert message.startswith("4 faults")
    assert "84-121123.trans.txt:2: no audio for 84-121123-0001" in message
    assert "84-121123.trans.txt:3: " in message and "is empty (0 bytes)" in message
    assert "84-121123.trans.txt:4: no audio for 84-121123-0000" in message
    assert "84-121123-0009.flac: no line of 84-121123.trans.txt" in message
    assert not out.exists(), "nothing is written when it stops"
    paths = librispeech.Config(
        corpus=str(tmp_path / "corpus"), out=str(out), on_error="skip"
    ).prepare()
    assert Manifest(paths["dev-clean"]).ids == ["84-121123-0000"]
    assert len((out / "skipped.txt").read_text().splitlines()) == 4


def test_wrong_folders_and_words(tmp_path):
    tree(tmp_path / "corpus")
    with pytest.raises(ValueError, match="does not exist"):
        librispeech.Config(corpus=str(tmp_path / "none"), out="out").prepare()
    with pytest.raises(ValueError, match="it has dev-clean"):
        librispeech.Config(
            corpus=str(tmp_path / "corpus"), out="out", splits=("test-clean",)
        ).prepare()
    with pytest.raises(ValueError, match="no <split>"):
        librispeech.Config(
            corpus=str(tmp_path / "corpus" / "dev-clean" / "84"), out="out"
        ).prepare()
    with pytest.raises(ValueError, match="'stop' or 'skip'"):
        librispeech.Config(corpus=str(tmp_path / "corpus"), out="out", on_error="ignore").prepare()
    with pytest.raises(ValueError, match="no split is called dev"):
        librispeech.download(str(tmp_path), ("dev",))


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; breaks off the first answer after half of it; knows ranges."""

    content, requests, breaks = b"", [], True

    def do_GET(self):  # noqa: N802
        wanted = self.headers.get("Range")
        type(self).requests.append(wanted)
        start = int(wanted[6:-1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        end = len(self.content) // 2 if self.breaks and not wanted else len(self.content)
        self.wfile.write(self.content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    tree(tmp_path / "source" / "LibriSpeech")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "source" / "LibriSpeech", "LibriSpeech")
    Server.content, Server.requests, Server.breaks = buffer.getvalue(), [], True
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_download_goes_on_where_it_broke(tmp_path, server):
    archive = Archive("31/x.tar.gz", hashlib.md5(Server.content).hexdigest())
    folder, holds = tmp_path / "got", "LibriSpeech/dev-clean"
    with pytest.raises(OSError, match="ended|incomplete|IncompleteRead"):
        fetch(archive, server, folder, holds)
    fetch(archive, server, folder, holds)
    half = len(Server.content) // 2
    assert Server.requests == [None, f"bytes={half}-"]
    assert sorted(path.name for path in folder.rglob("*")) == sorted(
        path.name for path in (tmp_path / "source").rglob("*")
    )
    fetch(archive, server, folder, holds)
    assert len(Server.requests) == 2, "what is there is not fetched again"


def test_download_with_a_wrong_checksum_or_no_network(tmp_path, server):
    Server.breaks = False
    with pytest.raises(OSError, match="MD5 is .*, wanted 00"):
        fetch(Archive("31/x.tar.gz", "00"), server, tmp_path / "got", "LibriSpeech/dev-clean")
    assert not list((tmp_path / "got").iterdir())
    with pytest.raises(OSError, match="is there a network"):
        librispeech.Config(
            corpus=str(tmp_path / "got"),
            out="out",
            download=True,
            mirror="http://127.0.0.1:9/resources",
        ).prepare()


def test_real_trees(real_data, tmp_path):
    paths = librispeech.Config(
        corpus=str(real_data / "LibriSpeech"), out=str(tmp_path), splits=("dev-clean",)
    ).prepare()
    rows = Manifest(paths["dev-clean"])
    assert len(rows) == 2703
    assert rows.durations.sum() / 3600 == pytest.approx(5.388, abs=0.005)
    assert rows[rows.find("84-121123-0000")]["text"].startswith("GO DO YOU HEAR")
    # Here only some utterances of each chapter are kept, so all others are faults.
    flac = str(real_data / "librispeech_flac")
    paths = librispeech.Config(corpus=flac, out=str(tmp_path / "flac"), on_error="skip").prepare()
    assert len(Manifest(paths["dev-clean"])) == 40
