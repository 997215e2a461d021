"""What a task cannot ask or a score cannot count is found before the first step, with its line."""

import numpy as np
import pytest
import soundfile

from speechllm.data import check, manifest
from speechllm.data.examples import Examples
from speechllm.data.manifest import Manifest
from speechllm.train import loop

TRANSLATE = {"name": "translate", "way": "direct", "mix": ["recognise", "direct"]}


def row(number, **more):
    heard = {"audio": "a.wav", "duration": 1.0} if "heard" not in more else {}
    text = {"text": "low", "lang": "en", "translation": "high", "translation_lang": "de"}
    return {"id": f"u{number}", **heard, **text} | more


@pytest.fixture
def examples(make_run, tmp_path):
    """A function: examples of rows, the first of them sound, under a task."""
    run = make_run(tmp_path / "exp")
    soundfile.write(tmp_path / "a.wav", 0.1 * np.ones(16000), 16000)

    def make(*rows, task=TRANSLATE, answer=True):
        manifest.write(tmp_path / "m.jsonl", [row(0), row(1), *rows])
        return Examples.of(run.system, Manifest(tmp_path / "m.jsonl"), task, answer=answer)

    return make


@pytest.mark.parametrize(
    "bad,message",
    [
        ({"lang": "qq"}, "no language has the code 'qq'"),
        ({"lang": "de", "translation_lang": "en"}, "swapped"),
        ({"translation_lang": "fr"}, "another corpus"),
        ({"translation": None}, "no 'translation' in its row"),
        ({"text": None}, "no 'text' in its row"),
    ],
)
def test_each_line_is_asked_not_the_first_alone(examples, bad, message):
    task = TRANSLATE | {"source": "en", "target": "de"}
    check.rows(examples(row(2), task=task))
    with pytest.raises(ValueError, match=f"m.jsonl:4: utterance 'u3': .*{message}"):
        check.rows(examples(row(2), row(3, **bad), row(4), task=task))


def test_a_way_that_training_may_draw_is_asked_too(examples):
    only_text = [row(k, translation=None) for k in (2, 3)]
    task = {"name": "translate", "way": "recognise"}
    check.rows(examples(*only_text, task=task))
    with pytest.raises(ValueError, match="m.jsonl:3: utterance 'u2'"):
        check.rows(examples(*only_text, task=task | {"mix": ["direct"]}))


def test_a_task_that_nobody_knows_and_what_a_task_lacks(examples):
    with pytest.raises(ValueError, match=r"m.jsonl:3.*no .*translte.*did you mean .translate"):
        examples(row(2, task="translte"), task=None)
    silent = {"id": "u2", "text": "low", "task": "qa", "question": "say"}
    with pytest.raises(ValueError, match="m.jsonl:3: utterance 'u2': no 'heard' in its row"):
        check.rows(examples(silent, task=None))


def test_references_of_unequal_number(examples):
    check.references(examples(row(2)))
    check.references(examples(task={"name": "asr"}))
    three = row(2, translations=["high", "mid", "low"])
    with pytest.raises(ValueError, match="m.jsonl:1: references: 1, but line 3 has 3; .*add some"):
        check.references(examples(three))
    with pytest.raises(ValueError, match="m.jsonl:3: references: none, but line 1 has 1"):
        check.references(examples(row(2, translation=None)))


def test_what_nobody_has_translated_can_be_decoded(examples):
    bare = [{"id": f"b{k}", "audio": "a.wav", "duration": 1.0} for k in range(2)]
    languages = {"source": "en", "target": "de"}
    for way in ("direct", "recognise", "chain"):
        made = examples(*bare, task={"name": "translate", "way": way} | languages, answer=False)
        check.rows(made)
        assert made.make(0, 2).encoded.ids and made.task.reference(bare[0]) is None


def test_training_stops_before_its_first_step(make_run, tmp_path):
    run = make_run(tmp_path / "exp")
    rows = [{**r, "task": "asr"} for r in run.manifests["train"]]
    last = {k: v for k, v in rows[-1].items() if k != "text"}
    manifest.write(tmp_path / "train.jsonl", [*rows[:-1], last])
    run.manifests["train"] = Manifest(tmp_path / "train.jsonl")
    with pytest.raises(ValueError, match="train.jsonl:12: utterance 'train11': no 'text'"):
        loop.train(run)
    assert not run.out.exists()
