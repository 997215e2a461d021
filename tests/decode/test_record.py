"""A decode goes on only where model, manifest and search are the same; it says what differs."""

import dataclasses
import json

import pytest
import torch

from speechllm import config, lock
from speechllm.data.manifest import Manifest, write
from speechllm.decode import record
from speechllm.decode.ask import Answerer
from speechllm.decode.run import Options, decode
from speechllm.decode.search import Config
from speechllm.models.fingerprint import fingerprint
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer

OPTIONS = Options(workers=0, max_batch_s=2.0)


@pytest.fixture
def system_and_model(tiny):
    system = System(config.load(tiny / "tiny.toml"), load_tokenizer(tiny / "bpe"))
    return system, system.build().eval()


@pytest.fixture
def begun(system_and_model, tiny, tmp_path, monkeypatch):
    """A decode that was stopped after its first batch."""
    said, batches = Answerer.said, []

    def dying(*args):
        batches.append(args)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return said(*args)

    with monkeypatch.context() as patch:
        patch.setattr(Answerer, "said", dying)
        patch.setattr(Answerer, "refills", False)
        with pytest.raises(KeyboardInterrupt):
            decode(*system_and_model, Manifest(tiny / "valid.jsonl"), tmp_path, OPTIONS)
    return tmp_path


def manifest(tiny):
    return Manifest(tiny / "valid.jsonl")


CHANGES = {
    "options.search.num_beams: 1 -> 4": {"search": Config(num_beams=4)},
    "options.search.temperature: 0.0 -> 0.5": {"search": Config(temperature=0.5)},
    'options.precision: "fp32" -> "bf16"': {"precision": "bf16"},
    "options.max_tokens_per_s: 25.0 -> 3.0": {"max_tokens_per_s": 3.0},
    'options.audio: "real" -> "silent"': {"audio": "silent"},
    'task.prompt: ["say", "write"] -> ["say"]': {"task": {"name": "asr", "prompt": ["say"]}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_are_named(system_and_model, tiny, begun, change):
    before = (begun / "hyp.jsonl").read_bytes()
    options = dataclasses.replace(OPTIONS, **CHANGES[change])
    with pytest.raises(ValueError) as error:
        decode(*system_and_model, manifest(tiny), begun, options)
    assert f"({change})" in str(error.value) and "--again" in str(error.value)
    assert (begun / "hyp.jsonl").read_bytes() == before
    tally = decode(*system_and_model, manifest(tiny), begun, options, again=True)
    assert tally.n_utterances == 5 and tally.n_done_before == 0


def test_what_changes_no_answer_may_differ(system_and_model, tiny, begun):
    options = Options(workers=1, max_batch_s=0.1, on_error="skip")
    tally = decode(*system_and_model, manifest(tiny), begun, options)
    assert tally.n_done_before and tally.n_done_before + tally.n_utterances == 5


def test_another_model_is_refused(system_and_model, tiny, begun):
    """By its weights, wherever they lie; the same ones may lie elsewhere."""
    system, model = system_and_model
    with torch.no_grad():
        next(model.llm.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ValueError, match=r"\(weights: \"[0-9a-f]{16}\" -> \"[0-9a-f]{16}\"\)"):
        decode(system, model, manifest(tiny), begun, OPTIONS)
    where = {"checkpoint": "exp/step-2"}
    with pytest.raises(ValueError, match=r"; checkpoint:  -> exp/step-2\)"):
        decode(system, model, manifest(tiny), begun, OPTIONS, facts=where)
    again = system.build().eval()
    assert decode(system, again, manifest(tiny), begun, OPTIONS).n_utterances


def test_another_chat_or_front_end_is_refused(system_and_model, tiny, begun):
    system, model = system_and_model
    other = config.changed(system.preset, ["chat.user=user {}"])
    with pytest.raises(ValueError, match=r'\(system.chat.user: "\{\}<unk>" -> "user \{\}"\)'):
        decode(dataclasses.replace(system, preset=other), model, manifest(tiny), begun, OPTIONS)


@pytest.mark.parametrize("key", ["text", "id"])
def test_other_references_or_rows_are_refused(system_and_model, tiny, begun, tmp_path, key):
    rows = list(manifest(tiny))
    rows[0][key] = "high high"
    write(tmp_path / "other.jsonl", rows)
    with pytest.raises(ValueError, match="manifest_digest: "):
        decode(*system_and_model, Manifest(tmp_path / "other.jsonl"), begun, OPTIONS)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_answers_of_which_nothing_is_known_are_refused(system_and_model, tiny, begun, damage):
    damage(begun / "decode.json")
    with pytest.raises(ValueError, match="holds answers, but no decode.json that says"):
        decode(*system_and_model, manifest(tiny), begun, OPTIONS)


def test_anew_takes_the_scores_of_what_was_there_away(system_and_model, tiny, begun):
    for name in ("score_wer", "score_mine"):
        (begun / name).mkdir()
    (begun / "score_wer" / "score.json").write_text("{}")
    decode(*system_and_model, manifest(tiny), begun, OPTIONS)
    assert (begun / "score_wer").exists()
    decode(*system_and_model, manifest(tiny), begun, OPTIONS, again=True)
    assert not (begun / "score_wer").exists() and (begun / "score_mine").exists()


def test_one_decode_writes_at_a_time(system_and_model, tiny, tmp_path):
    with lock.hold(tmp_path), pytest.raises(ValueError, match="writes there already"):
        decode(*system_and_model, manifest(tiny), tmp_path, OPTIONS)


def test_facts_are_there_from_the_beginning(system_and_model, tiny, begun):
    """What stopped a decode does not hide what it was; at its end stands how it went."""
    facts = json.loads((begun / "decode.json").read_text())
    assert facts["options"]["audio"] == "real" and facts["n_rows"] == 5
    assert facts["weights"] == fingerprint(system_and_model[1]) and "wall_s" not in facts
    decode(*system_and_model, manifest(tiny), begun, OPTIONS)
    ended = json.loads((begun / "decode.json").read_text())
    assert ended["weights"] == facts["weights"] and ended["wall_s"] > 0 and ended["rtfx"] > 0


def test_a_fingerprint_is_of_all_weights(system_and_model):
    system, model = system_and_model
    first = fingerprint(model)
    assert first == fingerprint(system.build()) and len(first) == 16
    for parameter in model.parameters():
        kept = parameter.data.view(-1)[-1].clone()
        parameter.data.view(-1)[-1] = kept * 1.001 + 1e-4
        assert fingerprint(model) != first
        parameter.data.view(-1)[-1] = kept
    assert fingerprint(model.bfloat16()) != first


def test_a_metric_is_the_task_s(system_and_model):
    system, _ = system_and_model
    assert record.task_metric(system, None) == "wer"
    assert record.task_metric(system, {"name": "translate"}) == "bleu,chrf"
