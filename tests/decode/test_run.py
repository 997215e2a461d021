"""Decoding: one line at a time, an interrupted decode goes on, bounds follow the duration."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from speechllm.data import heard as sounds
from speechllm.data.manifest import Manifest, write
from speechllm.decode import run as decoding
from speechllm.decode.run import Options, decode, finished


@pytest.fixture(scope="module")
def system_and_model(tiny):
    from speechllm import config
    from speechllm.models.llm import load_tokenizer
    from speechllm.models.system import System

    system = System(config.load(tiny / "tiny.toml"), load_tokenizer(tiny / "bpe"))
    return system, system.build().eval()


OPTIONS = Options(workers=0, max_batch_s=2.0)


def read(path):
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


def answers(path):
    return {name: (row["hyp"], row["n_tokens"], row["stop"]) for name, row in read(path).items()}


def test_every_utterance_has_its_line(system_and_model, tiny, tmp_path):
    manifest = Manifest(tiny / "train.jsonl")
    tally = decode(*system_and_model, manifest, tmp_path / "h", OPTIONS)
    rows = read(tmp_path / "h")
    assert rows.keys() == set(manifest.ids)
    assert tally.n_utterances == len(manifest) and tally.rtfx > 0
    for wanted in manifest:
        row = rows[wanted["id"]]
        assert row["ref"] == wanted["text"] and row["speaker"] == wanted["speaker"]
        bound = int(wanted["duration"] * OPTIONS.max_tokens_per_s) + decoding.TOKENS_SPARE
        assert row["n_tokens"] <= bound


def test_each_row_is_held_against_what_its_task_wants(system_and_model, tiny, tmp_path):
    """Its own task's reference; under a task of the options, that one's."""
    german = {"lang": "en", "translation": "tief", "translation_lang": "de"}
    rows = [{**row, **german} for row in Manifest(tiny / "valid.jsonl")]
    write(tmp_path / "m.jsonl", [rows[0], {**rows[1], "task": "translate"}])
    manifest = Manifest(tmp_path / "m.jsonl")
    decode(*system_and_model, manifest, tmp_path / "own", OPTIONS)
    refs = {k: row["ref"] for k, row in read(tmp_path / "own").items()}
    assert refs == {rows[0]["id"]: rows[0]["text"], rows[1]["id"]: "tief"}
    options = dataclasses.replace(OPTIONS, task={"name": "asr"})
    decode(*system_and_model, manifest, tmp_path / "asr", options)
    assert {k: row["ref"] for k, row in read(tmp_path / "asr").items()} == {
        row["id"]: row["text"] for row in rows[:2]
    }


def test_an_interrupted_decode_goes_on(system_and_model, tiny, tmp_path, monkeypatch):
    manifest = Manifest(tiny / "train.jsonl")
    decode(*system_and_model, manifest, tmp_path / "whole", OPTIONS)
    batches, generate = [], decoding._generate

    def dying(*args):
        batches.append(args)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return generate(*args)

    monkeypatch.setattr(decoding, "_generate", dying)
    with pytest.raises(KeyboardInterrupt):
        decode(*system_and_model, manifest, tmp_path / "h", OPTIONS)
    begun = len(read(tmp_path / "h"))
    assert 0 < begun < len(manifest)
    with open(tmp_path / "h", "a") as file:
        file.write('{"id": "train0", "hy')  # the line that was being written
    tally = decode(*system_and_model, manifest, tmp_path / "h", OPTIONS)
    assert tally.n_done_before == begun and tally.n_utterances == len(manifest) - begun
    assert answers(tmp_path / "h") == answers(tmp_path / "whole")


def test_batched_is_single(system_and_model, tiny, tmp_path):
    manifest = Manifest(tiny / "train.jsonl")
    decode(*system_and_model, manifest, tmp_path / "a", OPTIONS)
    decode(*system_and_model, manifest, tmp_path / "b", Options(workers=0, max_batch_s=0.1))
    assert answers(tmp_path / "a") == answers(tmp_path / "b")


def test_a_bad_file_stops_or_is_listed(system_and_model, tiny, tmp_path):
    rows = [Manifest(tiny / "valid.jsonl")[i] for i in range(3)]
    rows[1]["audio"] = str(tmp_path / "missing.wav")
    write(tmp_path / "m.jsonl", rows)
    manifest = Manifest(tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match="utterance 'valid1': .*missing.wav"):
        decode(*system_and_model, manifest, tmp_path / "a", OPTIONS)
    skipping = Options(workers=0, max_batch_s=2.0, on_error="skip")
    tally = decode(*system_and_model, manifest, tmp_path / "b", skipping)
    assert tally.n_utterances == 2 and len(tally.errors) == 1
    assert read(tmp_path / "b").keys() == {"valid0", "valid2"}


def test_a_foreign_line_is_named(tmp_path):
    (tmp_path / "h").write_text('{"id": "a"}\nhello\n')
    with pytest.raises(ValueError, match="line 2: not a decoding result: hello"):
        finished(tmp_path / "h")


def test_what_is_heard_is_another_s_or_silence(system_and_model, tiny, tmp_path, monkeypatch):
    """The row keeps its id and reference; a decode that goes on hears what it would have heard."""
    manifest, heard = Manifest(tiny / "train.jsonl"), {}

    def listen(model, batch, bounds, *_):
        heard.update(zip(batch.names, zip(*batch.media["audio"], strict=True), strict=True))
        return [decoding.Answer([], "eos") for _ in bounds]

    def hear(audio: str, begun: int = 0) -> dict:
        heard.clear()
        out = tmp_path / f"{audio}{begun}"
        out.write_text("".join(f'{{"id": "{name}"}}\n' for name in manifest.ids[:begun]))
        decode(*system_and_model, manifest, out, dataclasses.replace(OPTIONS, audio=audio))
        refs = {name: row["ref"] for name, row in read(out).items() if "ref" in row}
        assert refs == {row["id"]: row["text"] for row in list(manifest)[begun:]}
        return {name: x[:n] for name, (x, n) in heard.items()}

    monkeypatch.setattr(decoding, "_generate", listen)
    real, shuffled, silent = (hear(audio) for audio in ("real", "shuffled", "silent"))
    system = system_and_model[0]
    ring = sounds.make("shuffled", manifest, system.extractor, system.preset.seed)
    for row in manifest:
        other = Path(ring.part(row)["audio"]).stem
        assert other != row["id"] and torch.equal(shuffled[row["id"]], real[other])
    for name, x in silent.items():
        assert x.shape == real[name].shape and torch.equal(x, x[:1].expand_as(x))
    for name, x in hear("shuffled", begun=5).items():
        assert torch.equal(x, shuffled[name])


def test_kind_and_choices_of_a_row_reach_the_scorer(system_and_model, tiny, tmp_path):
    row = {**Manifest(tiny / "valid.jsonl")[0], "kind": "yes_no", "choices": ["low", "high"]}
    row["text"] = "low"
    write(tmp_path / "m.jsonl", [row])
    decode(*system_and_model, Manifest(tmp_path / "m.jsonl"), tmp_path / "h", OPTIONS)
    (line,) = read(tmp_path / "h").values()
    assert line["kind"] == "yes_no" and line["choices"] == ["low", "high"]


def test_speed_is_that_after_the_first_batch():
    """The first one pays for what is made once; alone it is all there is."""
    tally = decoding.Tally()
    tally.add(10.0, 5.0, 2)
    assert tally.rtfx == 2.0
    tally.add(30.0, 3.0, 3)
    tally.add(30.0, 3.0, 3)
    assert tally.rtfx == 10.0 and (tally.audio_s, tally.wall_s, tally.n_utterances) == (70, 11, 8)


def test_an_answer_is_bounded_by_what_is_heard():
    """So many tokens a second, and some more; a text alone lasts as long as it would be said."""
    options = Options(max_tokens_per_s=10.0)
    assert decoding._bound({"duration": 3.0, "text": "x" * 900}, options) == 30 + 16
    assert decoding._bound({"text": "x" * 30}, options) == 20 + 16
