"""Channels from the row to the model: heard, stored, replaced, validated, each for itself."""

import json

import numpy as np
import pytest
import soundfile
import torch

import features
from features import extract, sources
from speechllm.data import control, manifest
from speechllm.data.examples import Examples
from speechllm.data.validate import validate

RATE = 16000


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def call(tmp_path):
    soundfile.write(tmp_path / "call.wav", np.stack([tone(300), tone(1100)], 1), RATE)
    for name, hz in (("left", 300), ("right", 1100)):
        soundfile.write(tmp_path / f"{name}.wav", tone(hz), RATE)
    return tmp_path


def rows(audio="call.wav", **more):
    return {"id": "u", "audio": audio, "duration": 1.0, "text": "low"} | more


def part(audio="call.wav", **more):
    return {"type": "audio", "audio": audio, "duration": 1.0} | more


def talk(*parts):
    user = {"role": "user", "content": list(parts)}
    return [user, {"role": "assistant", "content": "low"}]


def written(folder, *lines, name="m.jsonl"):
    manifest.write(folder / name, lines)
    return manifest.Manifest(folder / name)


def made(run, found, index=0, **options):
    return Examples.of(run.system, found, **options).make(0, index).media


def test_a_row_and_a_part_hear_their_channel(make_run, call):
    run = make_run(call / "run")
    found = written(
        call, rows(channel=0), rows(id="v", channel=1), rows(id="l", audio="left.wav"),
        rows(id="r", audio="right.wav"), rows(id="mix"),
        {"id": "t", "messages": talk(part(channel=1), part(channel=0))},
    )  # fmt: skip
    cached = Examples.of(run.system, found, cache_mb=10)
    for _ in range(2):  # the second time from memory
        zero, one, left, right, mix = (cached.make(0, i).media[0] for i in range(5))
        assert torch.allclose(zero, left, atol=1e-3) and torch.allclose(one, right, atol=1e-3)
        assert not torch.allclose(zero, one, atol=1e-1) and not torch.allclose(mix, one, atol=1e-1)
        both = cached.make(0, 5).media
        assert torch.equal(both[0], one) and torch.equal(both[1], zero)


def test_shuffled_channels_are_two_sounds(call):
    found = written(call, rows(channel=0), rows(id="v", channel=1))
    other = control.make("shuffled", found, None)
    assert other.part(part(str(call / "call.wav"), channel=0))["channel"] == 1


def test_stored_features_are_of_the_channel(make_run, call):
    run = make_run(call / "run")
    fe = run.system.extractor
    heard_ = written(call, rows(channel=0), rows(id="v", channel=1))
    extract.extract(sources.find(call / "m.jsonl"), call / "fb", fe.name, fe.options())
    assert sources.refer(call / "m.jsonl", call / "fb", call / "t.jsonl") == 2
    stored = manifest.Manifest(call / "t.jsonl")
    for i in range(2):
        assert stored[i]["features"].endswith("fb#" + "uv"[i])
        assert torch.equal(made(run, stored, i)[0], made(run, heard_, i)[0])
    changed = [{**json.loads(line), "channel": 0}
               for line in (call / "t.jsonl").read_text().splitlines()]  # fmt: skip
    other = written(call, *changed, name="o.jsonl")
    assert torch.equal(made(run, other, 0)[0], made(run, heard_, 0)[0])
    with pytest.raises(ValueError, match="made of channel 1, but the row wants channel 0"):
        made(run, other, 1)
    (problem,) = validate(call / "o.jsonl", workers=1)
    assert problem.line == 2 and "made of channel 1" in problem.message


def test_a_row_that_moved_is_refused_and_found(make_run, call):
    run = make_run(call / "run")
    soundfile.write(call / "long.wav", np.concatenate([tone(300), tone(900)]), RATE)
    fe = run.system.extractor
    written(call, rows("long.wav", start=0.0))
    extract.extract(sources.find(call / "m.jsonl"), call / "fb", fe.name, fe.options())
    sources.refer(call / "m.jsonl", call / "fb", call / "t.jsonl")
    row = json.loads((call / "t.jsonl").read_text())
    moved = written(call, {**row, "start": 1.0}, name="o.jsonl")
    with pytest.raises(ValueError, match="made from 0 s on, but the row starts at 1 s"):
        made(run, moved)
    (problem,) = validate(call / "o.jsonl", workers=1)
    assert (problem.severity, problem.line) == ("error", 1)


def test_a_mark_in_a_parent_folder(make_run, call):
    home = call / "C#" / "data"
    home.mkdir(parents=True)
    soundfile.write(home / "a.wav", tone(300), RATE)
    run = make_run(call / "run")
    fe = run.system.extractor
    found = written(home, rows("a.wav"))
    extract.extract(sources.find(home / "m.jsonl"), home / "fb", fe.name, fe.options())
    assert sources.refer(home / "m.jsonl", home / "fb", home / "t.jsonl") == 1
    assert validate(home / "t.jsonl", workers=1) == []
    assert torch.equal(made(run, manifest.Manifest(home / "t.jsonl"))[0], made(run, found)[0])
    whole = written(home, *manifest.Manifest(home / "t.jsonl"), name="again.jsonl")
    assert json.loads((home / "again.jsonl").read_text())["features"] == "fb#u"
    assert validate(whole.path, workers=1) == []


@pytest.mark.parametrize("wrong", [-1, "A", 0.5, True])
def test_a_channel_is_a_number(call, wrong):
    for row in (rows(channel=wrong), {"id": "u", "messages": talk(part(channel=wrong))}):
        with pytest.raises(ValueError, match="'channel' is"):
            written(call, row)


def test_a_channel_that_the_file_has_not(call):
    written(call, rows(channel=1))
    assert validate(call / "m.jsonl", workers=1) == []
    written(call, rows(channel=2))
    (problem,) = validate(call / "m.jsonl", workers=1)
    assert "'channel' is 2, but" in problem.message and "0 to 1" in problem.hint


@pytest.mark.parametrize(
    ("factors", "cancels"),
    [
        ((1.0, -1.0), True),
        ((1.0, -0.9), True),  # not quite alike
        ((1.0, -0.5), False),
        ((1.0, 1.0), False),
        ((1.0, 0.0), False),
        ((1.0, 1.0, -1.0, -1.0), True),
        ((1.0, *[0.0] * 7), False),
        ((1e-5, -1e-5), False),  # silence, which is said
    ],
)
def test_channels_that_cancel_are_found(call, factors, cancels):
    wave = np.random.default_rng(0).standard_normal(RATE) * 0.1
    soundfile.write(call / "c.wav", wave[:, None] * factors, RATE, subtype="FLOAT")
    written(call, rows("c.wav"))
    assert validate(call / "m.jsonl", workers=1) == []
    found = [p.message for p in validate(call / "m.jsonl", deep=True, workers=1)]
    assert [("cancel each other" in m) for m in found] == [True] * cancels + [False] * (
        max(factors) < 1e-4
    )
    written(call, rows("c.wav", channel=0))
    assert not any(
        "cancel each" in str(p) for p in validate(call / "m.jsonl", deep=True, workers=1)
    )


@pytest.mark.parametrize("front", ["kaldi_fbank80", "whisper80", "wave16k"])
def test_features_of_other_sound_are_found(call, front):
    """A file of the same size that was recorded anew; and one that is the same is not."""
    fe = features.get(front)
    later = rows(id="v", audio="right.wav", start=0.25, duration=0.5)
    found = written(call, rows("left.wav"), later)
    extract.extract(sources.find(found.path), call / "fb", front, fe.options())
    assert sources.refer(found.path, call / "fb", call / "t.jsonl") == 2
    assert validate(call / "t.jsonl", deep=True, workers=1) == []
    soundfile.write(call / "left.wav", tone(2000), RATE)
    assert validate(call / "t.jsonl", workers=1) == []
    (problem,) = validate(call / "t.jsonl", deep=True, workers=1)
    assert (problem.severity, problem.id) == ("error", "u")
    assert "fb#u is not of" in problem.message
