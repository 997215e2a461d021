"""How far two presets are apart: where they part, and by how much."""

import numpy as np
import pytest
import soundfile

import features
from features import cli, compare

WAVE = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


def rows(a, b, rate=16000, **options):
    found = compare.compare(features.get(a), features.get(b, **options), WAVE, rate)
    return {row.step: row for row in found}


def test_the_same_twice():
    found = rows("kaldi_mfcc13", "kaldi_mfcc13")
    assert list(found) == ["frames", "DC removal", "preemphasis", "window", "spectrum", "mel",
                           "log", "cepstra", "output"]  # fmt: skip
    assert all(row.mean == row.most == 0.0 for row in found.values())


def test_they_part_at_the_option_that_differs(monkeypatch):
    monkeypatch.setattr(compare, "SLAB", 13)  # several slabs, the last one short
    found = rows("kaldi_fbank80", "kaldi_fbank80", window="hann")
    assert found["preemphasis"].most == 0.0 and found["window"].most > 0.0
    x = features.get("kaldi_fbank80")(WAVE)[0]
    y = features.get("kaldi_fbank80", window="hann")(WAVE)[0]
    for step in ("log", "output"):
        assert found[step].mean == pytest.approx(float((x - y).abs().mean()), rel=1e-3)
        assert found[step].most == pytest.approx(float((x - y).abs().max()), rel=1e-2)
        assert found[step].a == found[step].b == (98, 80)


def test_other_shapes_rates_and_kinds():
    found = rows("kaldi_fbank80", "librosa_mfcc")
    assert found["mel"].mean is None and found["mel"].b == (32, 128)
    assert found["cepstra"].a is None and found["cepstra"].b == (32, 20)
    found = rows("kaldi_fbank80", "torchaudio_mel")
    assert found["log"].a == (98, 80) and found["log"].b == (101, 80) and found["log"].mean > 0
    assert list(rows("kaldi_fbank80", "wave16k")) == ["output"]
    found = rows("wave16k", "wave16k", normalize=True)
    scale = 1 / WAVE.std() - 1
    assert found["output"].mean == pytest.approx(np.abs(WAVE).mean() * scale, rel=1e-2)
    found = rows("kaldi_fbank40", "kaldi_fbank40", rate=8000, sampling_rate=8000)
    assert found["frames"].a == (198, 400) and found["frames"].b == (198, 200)
    assert found["output"].mean > 0.1
    short = compare.compare(*[features.get("kaldi_fbank80")] * 2, WAVE[:10], 16000)
    assert [row.step for row in short] == ["output"] and short[0].mean is None


def test_command(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", WAVE, 16000, subtype="FLOAT")
    line = ["compare", "kaldi_fbank80", "kaldi_fbank80:window=hann,low_freq=0"]
    assert cli.main([*line, str(tmp_path / "a.wav")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["step", "A", "B", "mean", "max"]
    assert said[1].split() == ["frames", "98x400", "98x400", "0", "0"]
    assert said[-1].startswith("output") and float(said[-1].split()[-1]) > 0
    assert cli.main(["compare", "kaldi_fbank80", "fbank", str(tmp_path / "a.wav")]) == 2
    assert "unknown preset 'fbank'" in capsys.readouterr().err
    assert cli.main(["compare", "ast", "ast:window", str(tmp_path / "a.wav")]) == 2
    assert "wanted NAME=VALUE" in capsys.readouterr().err


def test_table(capsys):
    assert cli.main(["presets"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:]] == features.names()
    whisper = next(line.split() for line in said if line.startswith("whisper80"))
    assert whisper[:6] == ["whisper80", "16000", "25", "80", "100", "no"]
    assert all(len(line.split()) > 6 for line in said[1:])  # each says what it follows
