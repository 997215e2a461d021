"""Asking from Python: the same answer as decoding a manifest; what cannot be asked."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import features
import speechllm
from speechllm import cli, config
from speechllm.data.manifest import Manifest
from speechllm.decode import filters, search
from speechllm.decode.ask import Answerer
from speechllm.decode.requests import Request, example
from speechllm.decode.room import bound
from speechllm.decode.run import Options, decode
from speechllm.decode.speech import Speech
from speechllm.models.system import System


@pytest.fixture(scope="module")
def speech(tiny):
    lively = config.changed(config.load(tiny / "tiny.toml"), ["llm.config.initializer_range=0.5"])
    system = System.open(lively, str(tiny / "bpe"))
    torch.manual_seed(0)
    return Speech(system, system.build())


def noise(n: int, seed: int = 0):
    return 0.1 * np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def test_a_wave_is_answered_as_in_a_manifest(speech, tiny, tmp_path):
    manifest, options = Manifest(tiny / "valid.jsonl"), Options(workers=0, max_batch_s=2.0)
    decode(speech.system, speech.model, manifest, tmp_path, options)
    told = [json.loads(line) for line in (tmp_path / "hyp.jsonl").read_text().splitlines()]
    assert len(told) == len(manifest) and any(row["hyp"] for row in told)
    rows = [manifest[manifest.find(row["id"])] for row in told]
    for row, wanted in zip(rows, told, strict=True):
        wave, _ = features.load(row["audio"])
        n = bound(row["duration"], options.max_tokens_per_s, 1)
        said = speech.answers([Request([wave])], [n])[0]
        assert said.text == wanted["hyp"] and said.stop == wanted["stop"]
        assert len(said.ids) == wanted["n_tokens"]
        assert round(said.score, 3) == round(wanted["score"], 3)
        assert speech.ask(wave, max_tokens=n) == speech.ask(row["audio"], max_tokens=n) == said.text
    files = [row["audio"] for row in rows]
    assert speech.transcribe(files, max_batch_s=2.0) == [row["hyp"] for row in told]
    assert speech.transcribe(files[0]) == told[0]["hyp"]


def test_several_sounds_and_free_words(speech):
    sounds = [noise(8000), noise(4000)]
    said = speech.ask(sounds, "low mid", max_tokens=5)
    parts = [{"type": "audio"}, {"type": "audio"}, {"type": "text", "text": "low mid"}]
    messages = [{"role": "user", "content": parts}]
    assert said == speech.ask(sounds, messages, max_tokens=5)
    with pytest.raises(ValueError, match="2 media in the messages, but 1"):
        speech.ask(noise(8000), messages)
    with pytest.raises(ValueError, match="the wave: wave 0 is too short"):
        speech.ask(noise(100))
    with pytest.raises(ValueError, match="num_beams: wanted 1 or more, got 0"):
        speech.ask(noise(8000), num_beams=0)


def test_requests_share_a_batch(speech):
    """Each is answered as alone, with its own question and bound."""
    requests = [
        Request([noise(8000)], "low"),
        Request([noise(12000, 1), noise(6000, 2)], "mid high"),
        Request([], [{"role": "user", "content": "say"}]),
    ]
    answerer = Answerer(speech.system, speech.model, search.Config(num_beams=3, num_best=2))
    examples = [example(speech.system, request) for request in requests]
    together = answerer(answerer.batch(examples), [4, 9, 6])
    alone = [
        answerer(answerer.batch([one]), [n])[0] for one, n in zip(examples, [4, 9, 6], strict=True)
    ]
    assert together == alone
    assert all(len(answer.alternatives) == 1 and answer.text for answer in together)
    assert all(answer.alternatives[0].score <= answer.score for answer in together)


def test_filters_and_search_are_for_the_asking(speech):
    ids = speech.system.tokenizer("high low", add_special_tokens=False)["input_ids"]
    said = speech.ask(noise(8000), max_tokens=len(ids), filters=[filters.forced(ids)])
    assert said == "high low"
    drawn = {speech.ask(noise(8000), max_tokens=6, temperature=1.5, seed=i) for i in range(4)}
    assert len(drawn) > 1


def test_an_experiment_is_loaded_by_its_folder(make_run, tmp_path):
    from speechllm.train import loop

    loop.train(make_run(tmp_path / "exp"))
    speech = speechllm.load(tmp_path / "exp")
    assert isinstance(speech.ask(noise(8000), max_tokens=3), str)
    assert repr(speech).startswith("Speech('tiny', 0.0 M parameters, cpu")
    assert speech.system.preset.name == "tiny" and not speech.model.training


def test_the_public_names():
    assert dir(speechllm) == ["__version__", "load"]
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        speechllm.lod  # noqa: B018


def test_the_command_prints_the_answer(speech, tiny, capsys, monkeypatch):
    monkeypatch.setattr(speechllm, "load", lambda folder, device: speech)
    said = {}
    for row in Manifest(tiny / "valid.jsonl"):
        audio = str(row["audio"])
        said[audio] = speech.ask(audio, max_tokens=40)
        assert cli.main(["ask", "exp", audio, "--max-tokens=40"]) == (0 if said[audio] else 2)
        assert capsys.readouterr().out == (said[audio] + "\n" if said[audio] else "")
    assert any(said.values())
    assert cli.main(["ask", "exp", "no.wav"]) == 2
    assert "no.wav" in capsys.readouterr().err
    for wrong in ("--num-beams=0", "--max-tokens=-1", "--temperature=nan", "--seed=x"):
        with pytest.raises(SystemExit):
            cli.main(["ask", "exp", audio, wrong])
        assert f"{wrong.split('=')[0]}: wanted a" in capsys.readouterr().err


def test_an_answer_that_could_not_be_given_is_an_error(speech, tiny, capsys, monkeypatch):
    """Never an empty line and exit status 0."""
    monkeypatch.setattr(speechllm, "load", lambda folder, device: speech)
    monkeypatch.setattr(Speech, "ask", lambda *args, **options: "")
    assert cli.main(["ask", "exp", str(tiny / "valid0.wav")]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert "valid0.wav: the model says nothing" in err


def test_a_file_too_long_for_the_llm_or_the_machine(speech, tmp_path, monkeypatch):
    """Said in one line, the second before the file is read; of what is about the whole of it."""
    import soundfile

    path = tmp_path / "long.wav"
    soundfile.write(path, noise(16000 * 40), 16000)
    wanted = "long.wav: too long: 503 positions, and the LLM reads 256"
    with pytest.raises(ValueError, match=wanted):
        speech.ask(path, "low")
    hour = dataclasses.replace(features.info(path), n_samples=16000 * 480)
    monkeypatch.setattr(features, "info", lambda path: hour)
    monkeypatch.setattr(features, "load", lambda *args, **options: pytest.fail("was read"))
    monkeypatch.setattr(speech._room, "free", lambda: 1e6)
    with pytest.raises(ValueError, match=r"long.wav: too long: 480 s want about .* GB of memory"):
        speech.ask(path, "low")
