"""Words of answers: as sure as the search says, inside the sound, alone as in any batch."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechllm import config
from speechllm.decode.listeners import OfSpeech, Wanted, load
from speechllm.decode.speech import Speech
from speechllm.decode.timing import Timer
from speechllm.models import store
from speechllm.models.heads import ctc
from speechllm.models.system import System
from speechllm.train import loop
from tests import checkpoints

RATE = 16000


def lively(tiny, *more) -> Speech:
    changes = ["llm.config.initializer_range=0.5", *more]
    system = System.open(
        config.changed(config.load(tiny / "tiny.toml"), changes), str(tiny / "bpe")
    )
    torch.manual_seed(0)
    return Speech(system, system.build())


def waves(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(round(s * RATE)).astype(np.float32) * 0.1 for s in seconds]


@pytest.fixture(scope="module", params=["", " adeghilmorstwy"])
def speech(tiny, request):
    made = lively(tiny)
    made.model.tokenizer = made.system.tokenizer
    made.model.take_head("ctc", ctc.Config(letters=request.param).build(made.model).eval())
    return made


def test_words_are_as_sure_as_the_search_and_inside(speech):
    listener = OfSpeech(speech)
    assert listener.untimed == ""
    timer = Timer(speech.system, speech.model)
    sounds = waves(3.0, 1.5, 2.2)
    requests, bounds = listener.requests(sounds)
    answers = speech.answers(requests, bounds, timer=timer)
    assert any(one.words for one in answers)
    for answer, wave in zip(answers, sounds, strict=True):
        if not answer.words:  # more units than steps
            continue
        assert [w.text for w in answer.words] == answer.text.split()
        edges = [edge for w in answer.words for edge in (w.start, w.end)]
        assert edges == sorted(edges) and 0 <= edges[0] and edges[-1] <= len(wave) / RATE + 0.05
        if answer.stop == "length":  # the close is not in `ids`, but in the score
            total = sum(math.log(w.confidence) for w in answer.words)
            assert total == pytest.approx(answer.score * len(answer.ids), rel=1e-3)
    heard = listener.timed(sounds)
    assert [one.text for one in heard] == listener(sounds)
    for one, wave in zip(heard, sounds, strict=True):
        alone = listener.timed([wave])[0].words
        assert [w.text for w in alone] == [w.text for w in one.words]
        assert [w.confidence for w in alone] == pytest.approx(
            [w.confidence for w in one.words], rel=1e-3
        )


def test_a_model_without_a_head_says_so(tiny):
    listener = OfSpeech(lively(tiny))
    assert "no CTC head" in listener.untimed and "--by" not in listener.untimed
    (heard,) = listener.timed(waves(1.0))
    assert heard.words == () and heard.text == listener(waves(1.0))[0]


def test_a_phase_of_its_own_gives_any_model_times(make_run, tmp_path):
    run = make_run(tmp_path, "phase.encoder.train=['heads.ctc.*']")
    loop.train(run, until="encoder")
    folder = store.chosen(tmp_path / "encoder", "last")
    learned = load_file(folder / "optimizer.safetensors")
    assert learned and all("heads.ctc." in key for key in learned)
    speech = Speech(*store.load(folder))
    assert OfSpeech(speech).untimed == ""
    assert isinstance(OfSpeech(speech).timed(waves(1.0))[0].words, tuple)


@pytest.mark.parametrize("make", [checkpoints.whisper, checkpoints.wav2vec2])
def test_recognisers_say_where(make, tmp_path):
    listener = load(str(make(tmp_path)), "cpu", Wanted(), {})
    sounds = waves(0.9, 0.6)
    if make is checkpoints.whisper:
        assert "names no alignment_heads" in listener.untimed
        assert listener.timed(sounds)[0].words == ()
        listener.recogniser.model.generation_config.alignment_heads = [[0, 0], [0, 1]]
    assert listener.untimed == ""
    heard = listener.timed(sounds)
    assert [one.text for one in heard] == listener(sounds)
    assert any(one.words for one in heard)
    for one, wave in zip(heard, sounds, strict=True):
        edges = [edge for w in one.words for edge in (w.start, w.end)]
        assert edges == sorted(edges)
        assert not edges or 0 <= edges[0] and edges[-1] <= len(wave) / RATE + 0.05
        assert all(0 < w.confidence <= 1 for w in one.words)
    assert [w.text for w in listener.timed(sounds[1:])[0].words] == [w.text for w in heard[1].words]
