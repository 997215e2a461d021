"""Recognisers of transformers transcribe files of any length, as models of ours do."""

import json

import numpy as np
import pytest
import soundfile

from speechllm import cli
from speechllm.decode import listeners, long, voice
from speechllm.decode.listeners import Wanted
from tests import checkpoints

RATE = 16000


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return checkpoints.whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """Write twelve seconds of noises with pauses between; give the file and its wave."""
    rng = np.random.default_rng(0)
    wave = 1e-4 * rng.standard_normal(12 * RATE)
    for at in range(1, 11, 2):
        wave[at * RATE : at * RATE + 4800] = 0.1 * rng.standard_normal(4800)
    path = tmp_path_factory.mktemp("sound") / "noises.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    return path, wave.astype(np.float32)


@pytest.mark.parametrize("make", [checkpoints.whisper, checkpoints.wav2vec2])
def test_a_long_file_is_its_windows(make, noises, tmp_path, capsys):
    folder = make(tmp_path / "model")
    path, wave = noises
    listener = listeners.load(str(folder), "cpu", Wanted(), {})
    assert listener.window_s == (1.0 if make is checkpoints.whisper else 30.0)
    cutter = long.Cutter(RATE, voice.detector("energy", RATE), listener.window_s)
    alone = [listener([one.wave])[0] for one in long.windows([wave], cutter)]
    assert len(alone) == (5 if make is checkpoints.whisper else 1)
    words = ["transcribe", str(folder), str(path), "--vad=energy", "--device=cpu"]
    assert cli.main(words) == 0
    wanted = [" ".join(text.split()) for text in alone if text.strip()]
    assert capsys.readouterr().out.splitlines() == wanted
    out = tmp_path / "out"
    assert cli.main([*words, "--out", str(out)]) == 0
    assert (out / "noises.txt").read_text().splitlines() == wanted


@pytest.mark.parametrize("more", [[], ["--format=srt"], ["--task=translate"]])
def test_a_multilingual_whisper_finds_the_language_out(noises, tmp_path, capsys, more):
    """Whether or not words get times, which wants what it was told in front of them."""
    folder = checkpoints.whisper(tmp_path / "model", langs=("en", "de", "fr"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alignment_heads": [[0, 0]]}))
    words = ["transcribe", str(folder), str(noises[0]), "--vad=energy", "--device=cpu", *more]
    assert cli.main(words) == 0
    unsaid, err = capsys.readouterr()
    assert unsaid.strip() and "5 with words" not in err and "no times" not in err
    found = set()
    for code in ("en", "de", "fr"):
        assert cli.main([*words, f"--language={code}"]) == 0
        found.add(capsys.readouterr().out)
    # each window is heard as its own language says, which need not be that of the others
    lines = {line for text in found for line in text.splitlines()}
    assert set(unsaid.splitlines()) <= lines and len(found) > 1


def test_what_a_recogniser_cannot_do(whisper, noises, capsys):
    words = ["transcribe", str(whisper), str(noises[0]), "--vad=energy", "--device=cpu"]
    for more, wanted in (
        (["--task=translate", "--language=de"], "does not translate into English"),
        (["--task=caption"], "can transcribe or translate, got 'caption'"),
        (["--num-beams=4"], "--num-beams: "),
        (["--window-s=2"], "the model hears at most 1 s at once"),
    ):
        assert cli.main([*words, *more]) == 2
        err = capsys.readouterr().err
        assert wanted in err and err.count("\n") == 1
    assert cli.main([*words, "--language=en"]) == 0
    assert "--language has no effect" in capsys.readouterr().err


def test_what_is_no_model(noises, tmp_path, capsys):
    assert cli.main(["transcribe", str(tmp_path / "no"), str(noises[0])]) == 2
    assert "no such folder or file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["transcribe", str(tmp_path / "empty"), str(noises[0])]) == 2
    assert "neither an experiment nor a checkpoint" in capsys.readouterr().err


def test_what_is_wanted_is_part_of_the_identity(whisper):
    first, other = (listeners.load(str(whisper), "cpu", w, {}) for w in (Wanted(), Wanted(to="de")))
    assert first.identity != other.identity and first.identity["weights"]
    assert first.cost(0.3) == 1.0
