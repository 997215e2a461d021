"""Hotwords: which of them a CTC head is near to; where a prompt has a place; what is refused."""

import itertools

import numpy as np
import pytest

from speechllm.decode import align, hotwords, listeners
from speechllm.decode.listeners import OfSpeech, Wanted
from tests import checkpoints
from tests.decode.test_timing import lively, waves

BLANK = 4


def test_a_word_is_spotted_wherever_it_stands():
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.full(BLANK + 1, 0.5), 7))
    below = log_probs - log_probs.max(1, keepdims=True)
    words = [[0], [1, 2], [3, 3], [2, 0, 1], [0, 0, 0, 0, 0]]
    scores = align.spot(log_probs, words, BLANK)
    for word, score in zip(words, scores, strict=True):
        best = -np.inf
        for a, b in itertools.combinations(range(8), 2):
            spans = align.ctc(log_probs[a:b], word, BLANK)
            if spans is None:
                continue
            steps = np.full(b - a, BLANK)
            for unit, (first, last) in zip(word, spans, strict=True):
                steps[first:last] = unit
            best = max(best, below[a:b][np.arange(b - a), steps].sum())
        assert score == pytest.approx(best / len(word)) if np.isfinite(best) else score < -1e20


def test_what_a_head_cannot_spell_is_told(tiny):
    from speechllm.models.heads import ctc

    speech = lively(tiny, "task.hotwords='{}'")
    speech.model.tokenizer = speech.system.tokenizer
    letters = ctc.Config(letters=" low")
    speech.model.take_head("ctc", letters.build(speech.model).eval())
    listener = OfSpeech(speech, Wanted(hotwords=("say", "mid")))
    assert "say" in hotwords.near(*_asked(listener), ["say", "hi"])[0]
    assert hotwords.near(*_asked(listener), []) == [[]]


def _asked(listener):
    (request,), _ = OfSpeech(listener.speech).requests(waves(1.0))
    return listener.speech, listener._timer, [request]


def test_lists(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("Anna Smith\n\n  bob\nbob\n")
    assert hotwords.read(str(path)) == ("Anna Smith", "bob")
    assert hotwords.read("x, y z,") == ("x", "y z")
    for wrong in ("", " , ", str(tmp_path / "none.txt,")[-1]):
        with pytest.raises(ValueError, match="a word a line"):
            hotwords.read(wrong)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        hotwords.read(str(tmp_path / "bytes"))


def test_the_prompt_has_those_that_are_near(tiny, monkeypatch):
    speech = lively(tiny, "task.hotwords='words: {}'")
    told = str(OfSpeech(speech, Wanted(hotwords=("low", "mid")))._messages)
    assert "words: low, mid" in told
    from speechllm.models.heads import ctc

    speech.model.take_head("ctc", ctc.Config().build(speech.model).eval())
    listener = OfSpeech(speech, Wanted(hotwords=("low", "mid", "high")))
    monkeypatch.setattr(hotwords, "NEAR", -np.inf)
    monkeypatch.setattr(hotwords, "MOST", 2)
    for asked in listener._asked(waves(1.0, 0.7)):
        (said,) = [part["text"] for part in asked[0]["content"] if part["type"] == "text"]
        assert len(said.partition("words: ")[2].split(", ")) == 2
    monkeypatch.setattr(hotwords, "NEAR", 1.0)
    assert all("words:" not in str(asked) for asked in listener._asked(waves(1.0)))
    assert len(listener.timed(waves(1.0, 0.7))) == 2
    assert listener.identity["hotwords"] == ["low", "mid", "high"]


def test_what_is_refused(tiny, tmp_path):
    speech = lively(tiny)
    with pytest.raises(ValueError, match="has no place for them"):
        OfSpeech(speech, Wanted(hotwords=("low",)))
    placed = lively(tiny, "task.hotwords='{}'")
    with pytest.raises(ValueError, match="is nothing in this model's tokens"):
        OfSpeech(placed, Wanted(hotwords=("low", "東京")))
    with pytest.raises(ValueError, match="no letter and no figure"):
        Wanted(hotwords=("...",))
    with pytest.raises(ValueError, match=r"wanted a text with one \{\}"):
        lively(tiny, "task.hotwords='none'").ask(waves(1.0)[0])
    whisper = str(checkpoints.whisper(tmp_path / "whisper"))
    with pytest.raises(ValueError, match="reads 11: give fewer"):
        listeners.load(whisper, "cpu", Wanted(hotwords=("abcdefghijkl",)), {})
    ctc = str(checkpoints.wav2vec2(tmp_path / "ctc"))
    with pytest.raises(ValueError, match="reads no prompt"):
        listeners.load(ctc, "cpu", Wanted(hotwords=("abc",)), {})
