"""Closed questions: the answer is the most probable choice, whatever else a model would say."""

import json

import numpy as np
import pytest
import torch

from speechllm import cli, config
from speechllm.decode import filters, search
from speechllm.decode.requests import Request
from speechllm.decode.speech import Speech
from speechllm.models.reading import Reading
from speechllm.models.system import System
from tests.decode.searched import LIVELY, only

CHOICES = [[4], [4, 5], [4, 5, 6], [9, 5], [9, 2, 7, 4], [12, 12], [8, 2, 8], [20], [21, 4], [6]]


def exhaustive(model, alone, ids: list[int], stops) -> float:
    """Log-probability of an answer and its likeliest close, one id read after another."""
    result = model(alone)
    with result.joined() as embeddings:
        reading, total = Reading(result, embeddings), 0.0
        for id in ids:
            total += reading.scores[0, id].item()
            reading.step(torch.tensor([id]))
        return total + max(reading.scores[0, stop].item() for stop in stops)


@pytest.mark.parametrize("stops", [[3], [3, 11]])
@torch.no_grad()
def test_equal_to_scoring_all_of_them(prompts, stops):
    model, batch, pad = prompts
    settings = search.Config(choices=tuple(map(str, CHOICES)), max_repeats=0)
    assert (settings.num_beams, settings.length_penalty) == (10, 0.0)
    found = search.answers(
        model(batch), [9] * 6, stops, pad, settings, [filters.one_of(CHOICES, stops)]
    )
    for row, answer in enumerate(found):
        totals = [exhaustive(model, only(batch, row), ids, stops) for ids in CHOICES]
        assert answer.ids == CHOICES[int(np.argmax(totals))] and answer.stop == "eos"
        assert answer.score == pytest.approx(max(totals), abs=2e-3)
    greedy = search.Config(max_repeats=0)
    for answer in search.answers(
        model(batch), [9] * 6, stops, pad, greedy, [filters.one_of(CHOICES, stops)]
    ):
        assert answer.ids in CHOICES


@pytest.fixture(scope="module")
def speech(tiny):
    system = System.open(config.changed(config.load(tiny / "tiny.toml"), [LIVELY]), tiny / "bpe")
    torch.manual_seed(0)
    return Speech(system, system.build())


def test_asked_for_by_name(speech, tiny, tmp_path, monkeypatch, capsys):
    words = ("low", "mid", "high mid", "high")
    waves = [np.random.default_rng(i).standard_normal(9000).astype(np.float32) for i in range(6)]
    said = [speech.ask(wave, choices=words) for wave in waves]
    assert set(said) <= {*words}
    with pytest.raises(ValueError, match="choices: 'LOW' has letters that this model cannot say"):
        speech.ask(waves[0], choices=("low", "LOW"))
    answers = speech.answers([Request([wave]) for wave in waves], [9] * 6, choices=words)
    assert [one.text for one in answers] == said
    monkeypatch.setattr("speechllm.models.store.load", lambda _: (speech.system, speech.model))
    monkeypatch.setattr("speechllm.models.store.find", lambda folder: folder)
    call = ["decode", "m", str(tiny / "valid.jsonl"), "--out", str(tmp_path), "--workers=0"]
    call += ["--device=cpu"]
    assert cli.main([*call, "--choices", "low,high mid"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "hyp.jsonl").read_text().splitlines()]
    assert {line["hyp"] for line in lines} <= {"low", "high mid"}
    assert cli.main(call) == 2, "answers to another question stand there"
    assert "options.search.choices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"choices": ("yes", "yes")}, "choices: wanted different answers"),
        ({"choices": ("yes", "")}, "none of them empty"),
        ({"choices": ("yes", "no"), "draft": "ctc"}, "no choices"),
        ({"choices": ("yes", "no"), "by": "ctc"}, "choices: are the LLM's"),
    ],
)
def test_choices_that_mean_nothing(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        search.Config(**options)


def test_choices_that_are_one_to_the_tokenizer(speech):
    with pytest.raises(ValueError, match="' low' is the same as 'low' in this model's tokens"):
        speech.ask(np.zeros(9000, np.float32), choices=("mid", "low", " low"))
    with pytest.raises(ValueError, match="one_of: wanted at least one"):
        filters.one_of([], [3])
