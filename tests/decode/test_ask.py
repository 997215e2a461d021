"""Asking from Python: the same answer as decoding a manifest; what cannot be asked."""

import json

import numpy as np
import pytest
import torch

import features
import speechllm
from speechllm import cli, config
from speechllm.data.manifest import Manifest
from speechllm.decode import search
from speechllm.decode.run import Options, _bound, decode
from speechllm.models.system import System


@pytest.fixture(scope="module")
def asked(tiny):
    lively = config.changed(config.load(tiny / "tiny.toml"), ["llm.config.initializer_range=0.5"])
    system = System.open(lively, str(tiny / "bpe"))
    torch.manual_seed(0)
    return system, system.build().eval()


def test_a_wave_is_answered_as_in_a_manifest(asked, tiny, tmp_path, monkeypatch):
    answers, generate = [], search.answers

    def kept(*args):
        answers.append(generate(*args))
        return answers[-1]

    monkeypatch.setattr(search, "answers", kept)
    manifest, options = Manifest(tiny / "valid.jsonl"), Options(workers=0, max_batch_s=2.0)
    decode(*asked, manifest, tmp_path / "h", options)
    told = [json.loads(line) for line in (tmp_path / "h").read_text().splitlines()]
    wanted = [answer for batch in answers for answer in batch]
    assert len(wanted) == len(told) == len(manifest) and any(answer.ids for answer in wanted)
    for row, answer in zip(told, wanted, strict=True):
        example = manifest[manifest.find(row["id"])]
        wave, _ = features.load(example["audio"])
        said = speechllm.ask(*asked, wave, max_tokens=_bound(example, options))
        assert answers[-1] == [answer] and said == row["hyp"]


def test_several_sounds_and_free_words(asked):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    said = speechllm.ask(*asked, [noise, noise[:4000]], "low mid", max_tokens=5)
    sounds = [{"type": "audio"}, {"type": "audio"}, {"type": "text", "text": "low mid"}]
    messages = [{"role": "user", "content": sounds}]
    assert said == speechllm.ask(*asked, [noise, noise[:4000]], messages, max_tokens=5)
    with pytest.raises(ValueError, match="2 media in the messages, but 1"):
        speechllm.ask(*asked, noise, messages)
    with pytest.raises(ValueError, match="wave 0 is too short"):
        speechllm.ask(*asked, noise[:100])


def test_an_experiment_is_loaded_by_its_folder(make_run, tmp_path):
    from speechllm.train import loop

    run = make_run(tmp_path / "exp")
    loop.train(run)
    system, model = speechllm.load(tmp_path / "exp")
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    assert isinstance(speechllm.ask(system, model, noise, max_tokens=3), str)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        speechllm.lod  # noqa: B018


def test_the_command_prints_the_answer(asked, tiny, capsys, monkeypatch):
    monkeypatch.setattr(speechllm, "load", lambda folder: asked)
    said = {}
    for row in Manifest(tiny / "valid.jsonl"):
        audio = str(row["audio"])
        said[audio] = speechllm.ask(*asked, features.load(audio)[0], max_tokens=40)
        assert not cli.main(["ask", "exp", audio, "--max-tokens=40"])
        assert capsys.readouterr().out == said[audio] + "\n"
    assert any(said.values())
    assert cli.main(["ask", "exp", "no.wav"]) == 2
    assert "no.wav" in capsys.readouterr().err
