"""A name is a path or the Hub's, decided at once: nobody waits for the Hub to hear of a typo."""

import time

import pytest

from speechllm import places


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "models" / "whisper").mkdir(parents=True)
    (tmp_path / "train.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_there_is_a_path(here, monkeypatch):
    monkeypatch.setattr(places, "reachable", lambda: pytest.fail("nobody has to ask"))
    for name in ("models/whisper", "models", "train.jsonl", str(here), "./models"):
        assert places.find(name).exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("models/whispr", "did you mean models/whisper?"),
        ("modles/whisper/x", "did you mean models?"),
        ("./nothing", "holds models, train.jsonl"),
        ("/no/such/folder", "no such folder or file"),
        ("../x", "no such folder or file"),
        ("~/no-such-folder-here", "no such folder or file"),
        ("trian.jsonl", "did you mean train.jsonl?"),
        ("models/other/", "holds whisper"),
        ("a\0b", "no such folder or file"),
        ("x" * 5000, "no such folder or file"),
        ("c:\\models", "no such folder or file"),
        ("two words", "no such folder or file"),
    ],
)
def test_what_looks_like_a_path_is_refused_at_once(here, monkeypatch, name, says):
    monkeypatch.setattr(places, "reachable", lambda: pytest.fail("nobody has to ask"))
    started = time.perf_counter()
    with pytest.raises(ValueError) as caught:
        places.find(name)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert time.perf_counter() - started < 1


def test_ids_of_the_hub(here, monkeypatch):
    monkeypatch.setattr(places, "reachable", lambda: True)
    for name in (
        "models/gpt-oss",
        "gpt2",
        "openai/whisper-base",
        "lmsys/vicuna-7b-v1.5",
        "Qwen/Qwen2.5-0.5B",
    ):
        assert places.find(name) is None
    monkeypatch.setattr(places, "reachable", lambda: False)
    with pytest.raises(ValueError, match="cannot be reached; did you mean models"):
        places.find("modelss/whisper")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "cache"))
    (here / "cache/models--gpt2/snapshots").mkdir(parents=True)
    assert places.find("gpt2") is None, "what was fetched before needs no network"
    with pytest.raises(ValueError, match="where a data set of that name"):
        places.find("gpt2", "data set", "dataset")


def test_the_server_is_asked_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    tried = []

    def refuse(address, timeout):
        tried.append((address, timeout))
        raise OSError

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://mirror.example:8080")
    assert not places.reachable() and tried == [(("mirror.example", 8080), 5)]
    monkeypatch.setenv("https_proxy", "http://proxy")
    assert places.reachable()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not places.reachable()
