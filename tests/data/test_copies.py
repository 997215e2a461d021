"""Copies of a set: the speed and the noise that were asked, the same from the same seed."""

import numpy as np
import pytest
import soundfile

from speechllm import cli
from speechllm.data import copies
from speechllm.data.manifest import Manifest
from speechllm.media import audio


def heard(path):
    return {row["id"]: audio.open(row, 16000) for row in Manifest(path)}


def test_a_faster_copy_is_shorter_and_keeps_its_texts(tiny, tmp_path):
    made = copies.copy(tiny / "valid.jsonl", "speed1.1", tmp_path)
    rows = zip(Manifest(tiny / "valid.jsonl"), Manifest(made), strict=True)
    for before, after in rows:
        assert after["duration"] == pytest.approx(before["duration"] / 1.1, abs=1e-3)
        assert [after[key] for key in ("id", "text", "speaker")] == [
            before[key] for key in ("id", "text", "speaker")
        ]


def test_noise_has_the_power_that_was_asked(tiny, tmp_path):
    clean = heard(tiny / "valid.jsonl")
    noisy = heard(copies.copy(tiny / "valid.jsonl", "noise10", tmp_path))
    for name, wave in clean.items():
        ratio = np.mean(wave**2) / np.mean((noisy[name] - wave) ** 2)
        assert 10 * np.log10(ratio) == pytest.approx(10, abs=0.2)
    assert len({wave[:50].tobytes() for wave in noisy.values()}) == len(noisy)


def test_noise_of_ones_own_is_drawn_the_same_again_and_a_copy_is_made_once(tiny, tmp_path):
    noise = tmp_path / "noise.wav"
    soundfile.write(noise, np.random.default_rng(1).normal(0, 0.1, 20000), 16000)
    one = copies.copy(tiny / "valid.jsonl", "noise5", tmp_path / "a", [noise])
    other = copies.copy(tiny / "valid.jsonl", "noise5", tmp_path / "b", [noise])
    first, second = heard(one), heard(other)
    assert all((first[name] == second[name]).all() for name in first)
    changed = one.stat().st_mtime_ns
    assert copies.copy(tiny / "valid.jsonl", "noise5", tmp_path / "a", [noise]) == one
    assert one.stat().st_mtime_ns == changed
    white = heard(copies.copy(tiny / "valid.jsonl", "noise5", tmp_path / "a"))  # other noise: anew
    assert any((white[name] != second[name]).any() for name in white)


@pytest.mark.parametrize("condition", ["fast", "speed9", "noise", "speed-1"])
def test_other_conditions_are_refused(condition):
    with pytest.raises(ValueError, match=r"wanted speed0.9 .* or noise10"):
        copies.check(condition)


def test_the_command_makes_sets_that_can_be_joined(tiny, tmp_path, capsys):
    words = ["data", "copies", tiny / "valid.jsonl", "speed0.9", "speed1.1", "--out", tmp_path]
    assert cli.main([str(word) for word in words]) == 0
    made = [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()]
    joined = tmp_path / "three.jsonl"
    words = ["data", "join", tiny / "valid.jsonl", *made, "--prefix", "--out", joined]
    assert cli.main([str(word) for word in words]) == 0
    rows, before = list(Manifest(joined)), list(Manifest(tiny / "valid.jsonl"))
    assert len({row["id"] for row in rows}) == 3 * len(before)
    assert rows[len(before)]["duration"] == pytest.approx(before[0]["duration"] / 0.9, abs=1e-3)
    assert cli.main(["data", "copies", str(joined), "fast", "--out", str(tmp_path)]) == 2
    assert "speed0.9" in capsys.readouterr().err
