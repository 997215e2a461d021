"""Sound that is too long for the memory: extracted in slabs, or refused before it is decoded."""

import numpy as np
import soundfile

from features import archive, stored, worker
from features.cli import main


def test_long_sound_in_slabs(tmp_path, monkeypatch):
    """In slabs or at once: the same frames; what needs the whole utterance has a limit."""
    wave = 0.1 * np.random.default_rng(0).standard_normal((100_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", wave, 44100)
    for kind in ("shards", "ark"):
        main(["extract", str(tmp_path), "--out", str(tmp_path / f"once_{kind}"), "--format", kind])
    monkeypatch.setattr(worker, "SLAB_S", 1)
    monkeypatch.setattr(worker, "WHOLE_S", 2)
    monkeypatch.setattr(worker, "CHUNK", 3001)
    monkeypatch.setattr("features.sound.BLOCK", 10_000)
    for kind in ("shards", "ark"):
        main(["extract", str(tmp_path), "--out", str(tmp_path / f"slabs_{kind}"), "--format", kind])
    once, slabs = (stored.Stored(tmp_path / f"{name}_shards") for name in ("once", "slabs"))
    slabs.verify()
    assert (once["a"][0] == slabs["a"][0]).all() and once["a"][1] == slabs["a"][1] == 225
    once, slabs = (dict(archive.read(tmp_path / f"{name}_ark" / "feats.scp"))["a"]
                   for name in ("once", "slabs"))  # fmt: skip
    assert (once == slabs).all() and len(once) == 225


def test_too_long_for_a_front_end_that_needs_all_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(worker, "SLAB_S", 1)
    monkeypatch.setattr(worker, "WHOLE_S", 2)
    soundfile.write(tmp_path / "long.wav", np.zeros(40_000), 16000)
    soundfile.write(tmp_path / "good.wav", np.ones(30_000) * 0.1, 16000)
    words = ["extract", str(tmp_path), "--out", str(tmp_path / "x"), "--preset", "seamless"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert "long.wav: lasts 2 s, wanted at most 2 s, as seamless needs all of it" in said.err
    assert "1 written, 0 there already, 1 failed" in said.out


def test_a_cut_file_in_slabs_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "SLAB_S", 1)
    monkeypatch.setattr("features.sound.BLOCK", 10_000)
    noise = 0.1 * np.random.default_rng(0).standard_normal(64_000)
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.flac", noise, 16000)
    data = bytearray((tmp_path / "b.flac").read_bytes())
    data[60_000:61_000] = bytes(1000)
    (tmp_path / "b.flac").write_bytes(data)
    assert main(["extract", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    there = stored.Stored(tmp_path / "x")
    there.verify()
    assert sorted(there) == ["a", "c"] and (there["a"][0] == there["c"][0]).all()
