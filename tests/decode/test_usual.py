"""How a model's own task is searched: as its preset says, where nobody says otherwise."""

import json

import pytest
import torch

import speechllm
from speechllm import cli, config
from speechllm.data.manifest import Manifest
from speechllm.decode import contest, search
from speechllm.decode.answer import Answer
from speechllm.decode.listeners import OfSpeech, Wanted
from speechllm.decode.speech import Speech
from speechllm.models import store
from speechllm.models.system import System

CHANGES = ["llm.config.initializer_range=0.5", "search.num_beams=3", "search.length_penalty=0.5"]


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    """Give the folder of a tiny model whose preset says how to search."""
    system = System.open(
        config.changed(config.load(tiny / "tiny.toml"), CHANGES), str(tiny / "bpe")
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("usual") / "model"
    tensors = store.state(system, system.build(), [["*"]])
    store.save(folder, system, {"model": tensors}, {"trained": [["*"]]})
    return folder


def searched(folder) -> dict:
    return json.loads((folder / "decode.json").read_text())["options"]["search"]


def decoded(model, tiny, out, *words) -> tuple[dict, list[str]]:
    line = ["decode", model, tiny / "valid.jsonl", "--out", out, "--workers", 0, *words]
    assert cli.main(list(map(str, line))) == 0
    rows = [json.loads(line) for line in (out / "hyp.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["id"])
    return searched(out), [row["hyp"] for row in rows]


def test_every_road_to_its_own_task_searches_as_the_preset_says(model, tiny, tmp_path):
    found, texts = decoded(model, tiny, tmp_path / "plain")
    assert (found["num_beams"], found["length_penalty"]) == (3, 0.5)
    beams = "--num-beams", 3, "--length-penalty", 0.5
    assert decoded(model, tiny, tmp_path / "said", *beams) == (found, texts)
    assert decoded(model, tiny, tmp_path / "greedy", "--num-beams", 1)[1] != texts
    speech = speechllm.load(model)
    sounds = [row["audio"] for row in sorted(Manifest(tiny / "valid.jsonl"), key=lambda r: r["id"])]
    assert speech.transcribe(sounds) == texts
    assert OfSpeech(speech).search == search.Config(num_beams=3, length_penalty=0.5)
    job = tiny / "valid.jsonl", tmp_path / "contest"
    contest.here(contest.Contestant("x", contest.OURS, str(model)), [job], contest.Settings())
    assert searched(job[1]) == found


def test_one_option_replaces_them_all(model, tiny, tmp_path):
    found, _ = decoded(model, tiny, tmp_path / "a", "--temperature", 0.7)
    assert (found["num_beams"], found["length_penalty"], found["temperature"]) == (1, 1.0, 0.7)


def test_another_task_and_a_question_know_nothing_of_it(model, monkeypatch):
    speech = speechllm.load(model)
    wanted = Wanted("translate", "en", to="de")
    assert OfSpeech(speech, wanted).search == search.Config()
    seen = []

    def answers(self, requests, bounds, **options):
        seen.append(options)
        return [Answer([], "eos")]

    monkeypatch.setattr(Speech, "answers", answers)
    for question in ("", "How many?"):
        speech.ask(torch.zeros(16000).numpy(), question)
    assert seen[0]["num_beams"] == 3 and seen[1] == {}


def test_a_wrong_setting_is_told_before_training(tiny, tmp_path, capsys):
    line = ["train", tiny / "tiny.toml", "--set", "search.num_beam=4", "--out", tmp_path / "x"]
    line += ["--tokenizer", tiny / "bpe", "--data", f"train={tiny / 'train.jsonl'}"]
    assert cli.main(list(map(str, line))) == 2
    assert "did you mean 'num_beams'" in capsys.readouterr().err
