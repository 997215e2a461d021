"""Sounds shuffled and silenced: each replaced, deterministic, the questions left alone."""

import pytest
import torch

import features
from speechllm.data import control
from speechllm.data.manifest import Manifest, write


def rows(n: int) -> list[dict]:
    """Rows of one sound, and one of two sounds and a spoken question."""
    made = [
        {"id": f"r{i}", "audio": f"s{i}.wav", "duration": 1.0 + i, "text": "x"} for i in range(n)
    ]
    made[1]["question"] = "a row's own question is no mark of its sound"
    made.append({**made[0], "id": "again"})  # one sound, asked about twice
    parts = [{"type": "audio", "audio": f"s{i}.wav", "duration": 1.0 + i} for i in range(2)]
    spoken = {"type": "audio", "audio": "q.wav", "duration": 2.0, "asks": True}
    turns = [{"role": "user", "content": [*parts, spoken]}, {"role": "assistant", "content": "x"}]
    return [*made, {"id": "pair", "duration": 5.0, "text": "x", "messages": turns}]


def manifest(folder, n=6):
    write(folder / "m.jsonl", rows(n))
    return Manifest(folder / "m.jsonl")


def part(row: dict) -> dict:
    return {"type": "audio", **{k: row[k] for k in ("audio", "start", "duration")}}


def test_every_sound_is_another_and_each_is_heard_once(tmp_path):
    m = manifest(tmp_path)
    for seed in range(20):
        other = control.make("shuffled", m, None, seed)
        replaced = {m[i]["audio"]: other.part(part(m[i]))["audio"] for i in range(6)}
        assert all(a != b for a, b in replaced.items())
        assert set(replaced) == set(replaced.values())
        content = m[m.find("pair")]["messages"][0]["content"]
        assert [other.part(p)["audio"] for p in content[:2]] == [
            replaced[p["audio"]] for p in content[:2]
        ]
        assert other.part(content[2]) == content[2]
        assert other.part(part(m[m.find("again")])) == other.part(part(m[0]))
    again = control.make("shuffled", m, None, 19)
    assert again == other and control.make("shuffled", m, None, 1) != other


def test_silence_keeps_the_length(tmp_path):
    extractor = features.get("kaldi_fbank80", dither=0.0)
    other = control.make("silent", manifest(tmp_path), extractor)
    x = torch.randn(7, 80)
    frame, _ = extractor(torch.zeros(16000))
    assert torch.equal(other.frames({}, x), frame[:1].expand(7, 80))
    assert torch.equal(other.frames({"asks": True}, x), x)
    wave = control.make("silent", manifest(tmp_path), features.get("wave16k"))
    assert torch.equal(wave.frames({}, torch.randn(9)), torch.zeros(9))


def test_bad_words(tmp_path):
    m = manifest(tmp_path)
    assert control.make("real", m, None) is None
    with pytest.raises(ValueError, match="media: wanted real, shuffled or silent, got 'mute'"):
        control.make("mute", m, None)
    with pytest.raises(ValueError, match="1 sounds; shuffling wants two"):
        control.make("shuffled", m.subset([0]), None)


def test_one_medium_alone(tmp_path):
    """Of rows with a sound and a picture only the one that is named changes."""
    from types import SimpleNamespace

    def content(i):
        return [
            {"type": "audio", "audio": f"s{i}.wav", "duration": 1.0},
            {"type": "image", "image": f"p{i}.png"},
        ]

    turns = [[{"role": "user", "content": content(i)}] for i in range(3)]
    write(tmp_path / "m.jsonl", [{"id": str(i), "messages": t} for i, t in enumerate(turns)])
    m = Manifest(tmp_path / "m.jsonl")
    branches = {kind: SimpleNamespace(front=None) for kind in ("audio", "image")}
    assert sorted(control.of_all("shuffled", m, branches)) == ["audio", "image"]
    (one,) = control.of_all("shuffled:image", m, branches).values()
    picture = m[0]["messages"][0]["content"][1]
    assert one.medium == "image" and one.part(picture)["image"] != picture["image"]
    with pytest.raises(ValueError, match="no medium 'imgae'; did you mean 'image'"):
        control.of_all("shuffled:imgae", m, branches)
