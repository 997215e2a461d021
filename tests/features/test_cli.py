"""The command: folders, manifests, going on where it stopped, and its words."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import features
from features import cli, extract


@pytest.fixture
def corpus(tmp_path):
    """A folder with two sounds, one broken file and one name twice."""
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, n in (("a.wav", 8000), ("sub/b.flac", 12000), ("sub/b.ogg", 12000)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(n), 16000)
    (folder / "broken.wav").write_bytes(b"nothing of that kind")
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_folder(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["extract", str(corpus), "--out", str(out), "--option", "num_mel_bins=40"]
    assert cli.main(line) == 1  # one file is broken
    said = capsys.readouterr()
    assert "3 written, 0 there already, 1 failed" in said.out
    assert "broken.wav" in said.err and "x real time" in said.out
    fe = features.get("kaldi_fbank80", num_mel_bins=40)
    wave, _ = features.load(corpus / "a.wav")
    assert (np.load(out / "a.npy") == fe(wave)[0].numpy()).all()
    assert {p.name for p in (out / "sub").iterdir()} == {"b.flac.npy", "b.ogg.npy"}
    (out / "a.npy").unlink()
    assert cli.main(line) == 1
    assert "1 written, 2 there already, 1 failed" in capsys.readouterr().out
    assert cli.main(["extract", str(corpus), "--out", str(out)]) == 2
    assert "different: num_mel_bins" in capsys.readouterr().err


def test_manifest_in_two_processes(corpus, tmp_path):
    rows = [
        {"id": "x/one", "audio": "a.wav", "start": 0.1, "duration": 0.2},
        {"id": "x/two", "audio": str(corpus / "sub" / "b.flac")},
    ]
    manifest = corpus / "dev.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    tally = extract.extract(extract.find(manifest), tmp_path / "out", "whisper80", {}, jobs=2)
    assert (tally.done, tally.errors) == (2, [])
    assert np.load(tmp_path / "out" / "x" / "one.npy").shape == (20, 80)
    assert tally.audio_s == pytest.approx(0.2 + 0.75)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a"}', "dev.jsonl:1: wanted"),
        ("nothing", "dev.jsonl:1: wanted"),
        ('{"id": "a", "audio": "x.wav"}\n{"id": "a", "audio": "y.wav"}', "would both be a.npy"),
        ("", "no sound in it"),
    ],
)
def test_bad_manifests(tmp_path, line, said):
    (tmp_path / "dev.jsonl").write_text(line)
    with pytest.raises(ValueError, match=said):
        extract.find(tmp_path / "dev.jsonl")


def test_an_id_does_not_lead_out_of_the_folder(tmp_path):
    for name in ("../a", "/a"):
        with pytest.raises(ValueError, match="stored elsewhere"):
            extract.extract([extract.Item(name, "a.wav")], tmp_path / "out", "whisper80")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("num_mel_bins", "wanted NAME=VALUE"),
        ("num_mel_bins=x", "wanted int"),
        ("snip_edges=maybe", "wanted bool"),
        ("n_mels=4", "did you mean 'num_mel_bins'"),
    ],
)
def test_bad_options(corpus, tmp_path, capsys, option, said):
    out = tmp_path / "out"
    assert cli.main(["extract", str(corpus), "--out", str(out), "--option", option]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_presets_and_plot(corpus, tmp_path, capsys):
    assert cli.main(["presets"]) == 0
    assert all(name in capsys.readouterr().out for name in ["kaldi_fbank80"])
    assert cli.main(["presets", "wave16k"]) == 0
    assert "normalize" in capsys.readouterr().out
    assert cli.main(["plot", str(corpus / "a.wav"), str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10000


def test_help_needs_no_torch():
    code = (
        "import sys, features.cli\n"
        "try: features.cli.main(['extract', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'soundfile'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout
