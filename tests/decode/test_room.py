"""What is too long is known beforehand: the estimate against what a long sound really takes."""

import json

import pytest
import torch

import features
from speechllm import config
from speechllm.data.collate import collate
from speechllm.data.manifest import Manifest, write
from speechllm.decode import room, search
from speechllm.decode.ask import Answerer
from speechllm.decode.requests import Request, example
from speechllm.decode.room import Room
from speechllm.decode.run import Options, decode
from speechllm.decode.speech import Speech
from speechllm.models.system import System
from speechllm.models.tokens import load_tokenizer


@pytest.fixture(scope="module")
def system_and_model(tiny):
    wide = ["llm.config.max_position_embeddings=8192"]
    preset = config.changed(config.load(tiny / "tiny.toml"), wide)
    system = System(preset, load_tokenizer(tiny / "bpe"))
    return system, system.build().eval()


@pytest.mark.parametrize("seconds", [15.0, 90.0, 150.0])
def test_the_estimate_is_what_is_taken(system_and_model, seconds):
    """From trials of 10 to 40 s: the square of the length is in it."""
    room = Room(*system_and_model)
    assert room.bytes(seconds) == pytest.approx(room._peak(seconds), rel=0.15)
    assert room.bytes(160.0) > 3 * room.bytes(80.0)


def test_what_does_not_fit_is_set_aside(system_and_model, tiny, tmp_path, monkeypatch):
    """With `--on-error skip`; else nothing is decoded and one line says which and why."""
    rows = [Manifest(tiny / "valid.jsonl")[i] for i in range(3)]
    rows[1] = {**rows[1], "duration": 3600.0}
    write(tmp_path / "m.jsonl", rows)
    manifest = Manifest(tmp_path / "m.jsonl")
    monkeypatch.setattr("speechllm.decode.room.available", lambda device: 1e9)
    wanted = r"m.jsonl:2: utterance 'valid1': too long: 3600 s want about .* GB of memory"
    with pytest.raises(ValueError, match=wanted + r".*\(--on-error skip goes on without it\)"):
        decode(*system_and_model, manifest, tmp_path / "a", Options(workers=0))
    assert not (tmp_path / "a" / "hyp.jsonl").exists()
    tally = decode(*system_and_model, manifest, tmp_path / "b", Options(workers=0, on_error="skip"))
    assert tally.n_utterances == 2 and len(tally.errors) == 1


def test_a_front_end_that_takes_no_such_lengths_speaks_for_itself(system_and_model, monkeypatch):
    room = Room(*system_and_model)

    def refuses(seconds):
        raise ValueError("no longer than 30 s")

    monkeypatch.setattr(room, "_peak", refuses)
    assert room.bytes(3600.0) == 0.0
    room.check(3600.0)


def test_short_ones_are_not_tried(system_and_model, monkeypatch):
    room = Room(*system_and_model, free=lambda: 0)
    monkeypatch.setattr(room, "_peak", lambda seconds: pytest.fail("was tried"))
    room.check(60.0)


def test_text_alone_is_not_tried(system_and_model, tiny, tmp_path, monkeypatch):
    """However long it, or its reference, is."""
    monkeypatch.setattr(Room, "_peak", lambda self, seconds: pytest.fail("was tried"))
    talk = [{"role": "user", "content": "low mid high " * 100}]
    write(tmp_path / "m.jsonl", [{"id": "a", "messages": talk, "text": "low " * 9000}])
    options = Options(workers=0, max_tokens=3)
    assert decode(*system_and_model, Manifest(tmp_path / "m.jsonl"), tmp_path, options).n_utterances


def test_trials_change_nothing(system_and_model):
    """Weights and the next random number stay."""
    _, model = system_and_model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    Room(*system_and_model).bytes(100.0)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_the_llm_cannot_read_is_set_aside(tiny, tmp_path):
    """And what stood in its batch is answered as it would have been alone."""
    system = System(config.load(tiny / "tiny.toml"), load_tokenizer(tiny / "bpe"))
    model = system.build().eval()
    rows = list(Manifest(tiny / "valid.jsonl"))[:3]
    talk = [{"role": "user", "content": "low " * 300}]
    long = {"id": "long", "messages": talk, "text": "low"}
    write(tmp_path / "m.jsonl", [*rows[:2], long, rows[2]])
    manifest, options = Manifest(tmp_path / "m.jsonl"), Options(workers=0, on_error="skip")
    wanted = r"m.jsonl:3: utterance 'long': too long: \d+ positions, and the LLM reads 256"
    with pytest.raises(ValueError, match=wanted + r".*\(--on-error skip goes on without it\)"):
        decode(system, model, manifest, tmp_path / "a", Options(workers=0))
    tally = decode(system, model, manifest, tmp_path / "b", options)
    assert tally.n_utterances == 3 and len(tally.errors) == 1
    write(tmp_path / "short.jsonl", rows)
    decode(system, model, Manifest(tmp_path / "short.jsonl"), tmp_path / "c", options)

    def read(folder):
        found = map(json.loads, (folder / "hyp.jsonl").read_text().splitlines())
        return {row["id"]: row["hyp"] for row in found}

    assert read(tmp_path / "b") == read(tmp_path / "c")


def test_slots_that_reserve_more_than_is_said_are_no_reason(speaking, monkeypatch):
    """Soft tokens that an adapter drops are never read: mini reserves 25 a second, and says 5."""
    system, model, batch = speaking
    answerer = Answerer(system, model)
    real = int((model(batch).layout.segments > 0).sum(1).max())
    assert real < batch.ids.shape[1], "the adapter drops something"
    answerer.positions = real + 3
    assert len(answerer(batch, [200])[0].ids) <= 3
    answerer.positions = real
    with pytest.raises(ValueError, match=f"too long: {real} positions"):
        answerer(batch, [200])


@pytest.fixture
def speaking(tiny):
    """A system whose adapter drops blanks, and a prompt of 2 s."""
    adapter = "adapter={name='ctc_compress'}"
    preset = config.changed(config.load(tiny / "tiny.toml"), [adapter])
    system = System(preset, load_tokenizer(tiny / "bpe"))
    torch.manual_seed(0)
    model = system.build().eval()
    asked = example(system, Request([0.1 * torch.randn(32000).numpy()]))
    return system, model, collate([asked], system.tokenizer.pad_token_id)


def test_what_an_encoder_refuses_is_named(system_and_model, tiny, tmp_path, monkeypatch):
    """Its limit is known to it alone; the others of the batch are answered."""
    system, model = system_and_model
    forward = type(model.encoder).forward

    def narrow(self, x, lengths):
        if int(lengths.max()) > 60:
            raise ValueError("no longer than 0.6 s")
        return forward(self, x, lengths)

    monkeypatch.setattr(type(model.encoder), "forward", narrow)
    rows = sorted(Manifest(tiny / "train.jsonl"), key=lambda row: row["duration"])
    long = [row["id"] for row in rows if row["duration"] > 0.7]
    write(tmp_path / "m.jsonl", rows)
    manifest = Manifest(tmp_path / "m.jsonl")
    with pytest.raises(ValueError, match=r"m.jsonl:\d+: utterance '.*': no longer than 0.6 s"):
        decode(system, model, manifest, tmp_path / "a", Options(workers=0))
    tally = decode(system, model, manifest, tmp_path / "b", Options(workers=0, on_error="skip"))
    assert 0 < len(long) == len(tally.errors) and tally.n_utterances == len(rows) - len(long) > 0
    speech, files = Speech(system, model), [row["audio"] for row in rows]
    with pytest.raises(ValueError, match=f"{rows[-1]['id']}.wav: no longer than 0.6 s"):
        speech.transcribe(files[-1:])
    with pytest.raises(ValueError, match=r"train\d+.wav: no longer than 0.6 s"):
        speech.transcribe(files)


def test_beams_above_memory_are_halved(system_and_model, caplog):
    """Until they fit, which is said; the answer is that of so many."""
    _, model = system_and_model
    assert room.beams(model.llm, 1, 1, 100, 0) == 1, "one is always tried"
    assert room.beams(model.llm, 8, 2, 100, 10**9) == 8 and not caplog.messages
    least = next(n for n in range(0, 10**9, 1000) if room.beams(model.llm, 2, 1, 100, n) == 2)
    caplog.clear()
    assert room.beams(model.llm, 16, 1, 100, 2 * least) == 4
    assert "num_beams: 16 of 1 rows want about" in caplog.text and "4 are taken" in caplog.text


def test_a_search_takes_as_many_beams_as_fit(system_and_model, tiny, monkeypatch):
    system, model = system_and_model
    row = Manifest(tiny / "valid.jsonl")[0]
    request = Request([features.load(row["audio"])[0]])

    def said(beams):
        answerer = Answerer(system, model, search.Config(num_beams=beams, num_best=beams))
        return answerer(answerer.batch([example(system, request)]), [6])

    wanted = said(2)
    monkeypatch.setattr(room, "available", lambda device: 1)
    assert said(1) == said(8) and not said(8)[0].alternatives
    monkeypatch.setattr(room, "beams", lambda llm, wanted, *rest: 2)
    assert said(8) == wanted and len(wanted[0].alternatives) == 1
