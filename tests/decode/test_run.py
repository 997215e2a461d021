"""Decoding: one line at a time, an interrupted decode goes on, bounds follow the duration."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from speechllm.data import control as sounds
from speechllm.data.manifest import Manifest, write
from speechllm.decode import record, room
from speechllm.decode import run as decoding
from speechllm.decode.answer import Answer
from speechllm.decode.ask import Answerer
from speechllm.decode.lines import finished
from speechllm.decode.run import Options, decode


@pytest.fixture(scope="module")
def system_and_model(tiny):
    from speechllm import config
    from speechllm.models.system import System
    from speechllm.models.tokens import load_tokenizer

    system = System(config.load(tiny / "tiny.toml"), load_tokenizer(tiny / "bpe"))
    return system, system.build().eval()


OPTIONS = Options(workers=0, max_batch_s=2.0)


def read(folder):
    lines = (folder / "hyp.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


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
        bound = int(wanted["duration"] * OPTIONS.max_tokens_per_s) + room.SPARE
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


@pytest.mark.parametrize("flows", [True, False])
def test_an_interrupted_decode_goes_on(system_and_model, tiny, tmp_path, monkeypatch, flows):
    manifest = Manifest(tiny / "train.jsonl")
    decode(*system_and_model, manifest, tmp_path / "whole", OPTIONS)
    calls, said, flow = [], Answerer.said, Answerer.flowing

    def dying(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return said(*args)

    def drying_up(*args):
        for news, ended in flow(*args):
            calls.extend(ended)
            if 9 < len(calls) < 13:
                calls.extend([None] * 9)
                raise KeyboardInterrupt
            yield news, ended

    monkeypatch.setattr(Answerer, "said", dying)
    monkeypatch.setattr(Answerer, "flowing", drying_up)
    if not flows:
        monkeypatch.setattr(Answerer, "refills", False)
    with pytest.raises(KeyboardInterrupt):
        decode(*system_and_model, manifest, tmp_path / "h", OPTIONS)
    begun = len(read(tmp_path / "h"))
    assert 0 < begun < len(manifest)
    with open(tmp_path / "h" / "hyp.jsonl", "a") as file:
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
    with pytest.raises(ValueError, match="h:2: not JSON"):
        finished(tmp_path / "h")


def test_what_is_heard_is_another_s_or_silence(system_and_model, tiny, tmp_path, monkeypatch):
    """The row keeps its id and reference; a decode that goes on hears what it would have heard."""
    manifest, heard = Manifest(tiny / "train.jsonl"), {}

    def listen(self, batch, bounds):
        heard.update(zip(batch.names, zip(*batch.media["audio"], strict=True), strict=True))
        yield []
        return [Answer([], "eos") for _ in bounds]

    def hear(audio: str, begun: int = 0) -> dict:
        heard.clear()
        out, options = tmp_path / f"{audio}{begun}", dataclasses.replace(OPTIONS, audio=audio)
        out.mkdir()
        more = {}, False
        record.begin(out, record.identity(*system_and_model, manifest, options), *more)
        lines = "".join(f'{{"id": "{name}"}}\n' for name in manifest.ids[:begun])
        (out / "hyp.jsonl").write_text(lines)
        decode(*system_and_model, manifest, out, options)
        refs = {name: row["ref"] for name, row in read(out).items() if "ref" in row}
        assert refs == {row["id"]: row["text"] for row in list(manifest)[begun:]}
        return {name: x[:n] for name, (x, n) in heard.items()}

    monkeypatch.setattr(Answerer, "said", listen)
    monkeypatch.setattr(Answerer, "refills", False)
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
    """So many tokens a second, and some more; to text alone a plain number."""
    assert room.bound(3.0, 10.0, 200) == 30 + 16
    assert room.bound(0.0, 10.0, 200) == 200


def test_references_change_no_answer(system_and_model, tiny, tmp_path):
    """Rows with a duration, messages without one, text alone; references long, short, absent."""
    first, second, third = list(Manifest(tiny / "valid.jsonl"))[:3]
    sound = {"type": "audio", "audio": second["audio"]}
    asked = {"id": second["id"], "messages": [{"role": "user", "content": [sound]}]}
    said = {"id": third["id"], "messages": [{"role": "user", "content": "say"}]}

    def rows(*texts):
        pairs = zip((first, asked, said), texts, strict=True)
        return [{**row, "text": text} for row, text in pairs]

    def decoded(name, *texts):
        write(tmp_path / f"{name}.jsonl", rows(*texts))
        manifest = Manifest(tmp_path / f"{name}.jsonl")
        decode(*system_and_model, manifest, tmp_path / name, OPTIONS)
        return answers(tmp_path / name)

    short = decoded("short", "a", "a", "a")
    assert short == decoded("long", *["low mid high " * 200] * 3)
    assert short == decoded("none", None, None, None)
    assert short[said["id"]][1] <= OPTIONS.max_tokens
    assert short[asked["id"]][1] <= room.bound(0.75, OPTIONS.max_tokens_per_s, 1)


def test_rows_without_a_text_are_decoded(system_and_model, tiny, tmp_path):
    """A text that is null is a text that is not there, in both forms of a row."""
    row = Manifest(tiny / "valid.jsonl")[0]
    turns = [
        {"role": "user", "content": [{"type": "audio", "audio": row["audio"]}]},
        {"role": "assistant", "content": "low"},
    ]
    plain = {"audio": row["audio"], "duration": row["duration"]}
    rows = [
        {"id": "absent", **plain},
        {"id": "null", **plain, "text": None},
        {"id": "messages", **plain, "text": None, "messages": None},
    ]
    for name, some in {"own": rows, "chat": [{"id": "c", "text": None, "messages": turns}]}.items():
        write(tmp_path / f"{name}.jsonl", some)
        decode(*system_and_model, Manifest(tmp_path / f"{name}.jsonl"), tmp_path / name, OPTIONS)
    own, chat = answers(tmp_path / "own"), answers(tmp_path / "chat")
    assert own["absent"] == own["null"] == own["messages"] and len(chat) == 1


@pytest.mark.parametrize("begins", ["", "\ufeff"])
def test_answers_with_any_character_are_read_again(tmp_path, begins):
    """Lines end where they were ended; a file that an editor saved with a BOM goes on."""
    texts = ["one\u2028two", "three\u0085four", "five\u2029\x0b\x0c\x1c\x1dsix"]
    rows = [{"id": f"u{i}", "hyp": text} for i, text in enumerate(texts)]
    written = begins + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "h").write_text(written + '{"id": "cut', encoding="utf-8", newline="")
    assert finished(tmp_path / "h") == {"u0", "u1", "u2"}
    assert (tmp_path / "h").read_bytes().decode() == written


@pytest.mark.parametrize("whole", ["", "x" * 200_000 + "\n", "\n" * 3])
@pytest.mark.parametrize("half", ["", '{"id": "' + "y" * 200_000])
def test_half_a_line_of_any_length_is_removed(tmp_path, whole, half):
    from speechllm.decode.lines import _cut_half_line

    (tmp_path / "h").write_text(whole + half)
    _cut_half_line(tmp_path / "h")
    assert (tmp_path / "h").read_text() == whole


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"max_batch_s": 0.0}, "max_batch_s: wanted a number above 0, got 0.0"),
        ({"max_tokens_per_s": -100.0}, "max_tokens_per_s: wanted a number above 0, got -100.0"),
        ({"max_tokens_per_s": float("inf")}, "max_tokens_per_s: wanted a number above 0, got inf"),
        ({"max_tokens": 0}, "max_tokens: wanted 1 or more, got 0"),
        ({"workers": -1}, "workers: wanted 0 or more, got -1"),
    ],
)
def test_values_that_mean_nothing(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        Options(**options)


def test_what_is_no_number_is_said(system_and_model, tiny, tmp_path):
    """NaN in the weights: not an empty answer for each row."""
    system, _ = system_and_model
    model = system.build().eval()
    next(model.llm.parameters()).data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="computes no numbers .NaN. for valid"):
        decode(system, model, Manifest(tiny / "valid.jsonl"), tmp_path, OPTIONS)
    assert not (tmp_path / "hyp.jsonl").read_text()


def test_alternatives_stand_in_the_line(system_and_model, tiny, tmp_path):
    from speechllm.decode.search import Config

    options = dataclasses.replace(OPTIONS, search=Config(num_beams=3, num_best=3))
    decode(*system_and_model, Manifest(tiny / "valid.jsonl"), tmp_path, options)
    for row in read(tmp_path).values():
        scores = [row["score"], *(other["score"] for other in row["alternatives"])]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
