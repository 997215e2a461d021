"""Sound answers as a medium: opened, its front end, its cost, its key, its nothing."""

import numpy as np
import pytest
import soundfile
import torch

import features
from speechllm import media
from speechllm.data import manifest
from speechllm.data.rows import seconds
from speechllm.media import audio

RATE = 16000


@pytest.fixture
def folder(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((3 * RATE, 2))
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    return tmp_path


def part(folder, **more):
    return {"type": "audio", "audio": str(folder / "a.wav"), **more}


def test_the_folder_is_the_registry():
    assert media.of("audio") is audio and media.reads("audio") and not media.reads("touch")
    with pytest.raises(ValueError, match="nothing here reads the medium 'touch'"):
        media.of("touch")
    assert set(media.KINDS) == {"audio", "image", "pose", "video"}


def test_open_is_what_is_asked_for(folder):
    whole, _ = features.load(folder / "a.wav", RATE, mono=False)
    assert np.array_equal(audio.open(part(folder), RATE), whole.mean(0))
    one = audio.open(part(folder, start=1.0, duration=0.5, channel=1), RATE)
    assert np.array_equal(one, whole[1, RATE : RATE * 3 // 2])
    assert audio.open(part(folder), mono=False).shape == (2, 3 * RATE)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"duration": 1.25}, 1.25),
        ({"duration": 1.25, "start": 0.5}, 1.25),
        ({}, 3.0),
        ({"start": 1.0}, 2.0),
        ({"start": 9.0}, 0.0),
        ({"start": None, "duration": None}, 3.0),
        ({"audio": "nowhere.wav"}, 0.0),
    ],
)
def test_cost_is_the_seconds_that_are_heard(folder, more, wanted):
    assert audio.cost(part(folder, **more)) == wanted


def test_parts_that_do_not_say_how_long_they_are(folder):
    """Their files do, also where the paths are relative; batches and bounds count them."""
    content = [{"type": "audio", "audio": "a.wav"}, {"type": "text", "text": "and"},
               {"type": "audio", "audio": "a.wav", "start": 1.0}]  # fmt: skip
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}]
    manifest.write(folder / "m.jsonl", [{"id": "a", "messages": turns}])
    found = manifest.Manifest(folder / "m.jsonl")
    assert found.durations.tolist() == [5.0] == found.lengths_s.tolist()
    assert seconds(found[0]) == 5.0


def test_keys_tell_parts_apart(folder):
    others = [{}, {"start": 1.0}, {"duration": 1.0}, {"channel": 0}, {"channel": 1}]
    assert len({audio.key(part(folder, **more)) for more in others}) == 5
    assert audio.key(part(folder)) == audio.key(part(folder, start=0.0, channel=None))


def test_front_end_and_nothing():
    fbank = audio.front({"name": "kaldi_fbank80", "dither": 0.0}, "p.toml [frontend]")
    x, n = audio.nothing(fbank)
    assert x.shape == (n, 80) and torch.equal(x[3], fbank(torch.zeros(9000))[0][3])
    assert audio.usual(fbank) == fbank.count(160000)
    with pytest.raises(ValueError, match=r"^p.toml \[frontend\]: "):
        audio.front({"name": "kaldi_fbank81"}, "p.toml [frontend]")
    with pytest.raises(ValueError, match="wanted a table such as"):
        audio.front("kaldi_fbank80", "p.toml [frontend]")
