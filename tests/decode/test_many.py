"""Many requests and windows of one model: each as alone, whoever is beside it or refused."""

import numpy as np
import pytest
import torch

from features.sources import Item
from speechllm import config
from speechllm.decode.ask import Answerer
from speechllm.decode.listeners import OfSpeech
from speechllm.decode.requests import Request
from speechllm.decode.speech import Speech
from speechllm.decode.transcribe import Options, transcripts
from speechllm.models.heads import ctc
from speechllm.models.reading import Reading
from speechllm.models.system import System

LIVELY = "llm.config.initializer_range=0.5"
RATE = 16000


@pytest.fixture(scope="module")
def speech(tiny):
    system = System.open(config.changed(config.load(tiny / "tiny.toml"), [LIVELY]), tiny / "bpe")
    torch.manual_seed(0)
    model = system.build().eval()
    model.tokenizer = system.tokenizer
    model.take_head("ctc", ctc.Config(letters=" adeghilmorstwy").build(model).eval())
    return Speech(system, model)


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    lengths = rng.uniform(0.7, 3, 12)
    return [0.1 * rng.standard_normal(round(s * RATE)).astype(np.float32) for s in lengths]


@pytest.fixture
def widths(monkeypatch):
    """Lines that the LLM reads in each step."""
    widths, step = [], Reading.step
    monkeypatch.setattr(
        Reading, "step", lambda self, ids: (widths.append(len(ids)), step(self, ids))[1]
    )
    return widths


@pytest.mark.parametrize("words", [False, True])
@torch.no_grad()
def test_windows_flow_and_each_is_as_alone(speech, waves, words, widths, monkeypatch):
    listener = OfSpeech(speech, max_repeats=0)
    alone = [listener.timed([wave])[0] for wave in waves]
    widths.clear()
    found = dict(listener.many(waves, 8.0, words))
    assert [found[i].text for i in range(12)] == [one.text for one in alone]
    assert len({one.text for one in alone}) > 6
    n_steps = len(widths)
    for i, one in enumerate(alone):
        times = [(w.start, w.end, w.text) for w in one.words] if words else []
        assert [(w.start, w.end, w.text) for w in found[i].words] == times
    assert any(one.words for one in alone)
    monkeypatch.setattr(Answerer, "refills", False)
    widths.clear()
    assert [one.text for _, one in sorted(listener.many(waves, 8.0, words))] == [
        one.text for one in alone
    ]
    assert n_steps < len(widths), "refilling takes fewer steps than batches"


@pytest.mark.parametrize("flows", [True, False])
def test_what_is_refused_spoils_nothing(speech, waves, flows, monkeypatch):
    if not flows:
        monkeypatch.setattr(Answerer, "refills", False)
    sounds = [*waves[:3], waves[0][:100], *waves[3:5], np.concatenate(waves)]
    requests = [Request([wave], "low", f"request {i}") for i, wave in enumerate(sounds)]

    def some(numbers):
        return [requests[i] for i in numbers], [7 for _ in numbers]

    costs = [len(wave) / RATE for wave in sounds]
    found = dict(speech.many(some, costs, 6.0))
    assert len(found) == 7
    assert "wave 0 is too short" in str(found[3]) and "the LLM reads 256" in str(found[6])
    for i in (0, 1, 2, 4, 5):
        assert found[i] == speech.answers([requests[i]], [7])[0]
    with pytest.raises(ValueError, match="^request 3: wave 0 is too short"):
        speech.answers(requests, [7] * 7)


def test_a_file_is_heard_whatever_the_room(speech, waves, tmp_path):
    import soundfile

    wave = np.concatenate([np.pad(one, RATE) for one in waves])
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    listener, items = OfSpeech(speech), [Item("a", str(tmp_path / "a.wav"))]
    texts = {
        next(transcripts(listener, items, Options("energy", max_batch_s=s))).transcript.text
        for s in (0.1, 9.0, 200.0)
    }
    assert len(texts) == 1 and texts.pop()
