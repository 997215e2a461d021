"""The command: folders, manifests, going on where it stopped, and its words."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import features
from features import archive, cli, extract, folder, sources, stored


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder with two sounds, one broken file and one name twice; there is no ffmpeg."""
    monkeypatch.setenv("PATH", "")
    folder = tmp_path / "corpus"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, n in (("a.wav", 8000), ("sub/b.flac", 12000), ("sub/b.ogg", 12000)):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(n), 16000)
    (folder / "broken.wav").write_bytes(b"nothing of that kind")
    (folder / "notes.txt").write_text("no sound")
    (folder / "sub" / "c.m4a").write_bytes(b"\0\0\0\x1cftypM4A ")
    return folder


def test_folder(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["extract", str(corpus), "--out", str(out), "--option", "num_mel_bins=40"]
    assert cli.main(line) == 1  # one file is broken
    said = capsys.readouterr()
    assert "3 written, 0 there already, 1 failed" in said.out
    assert "1 files left out (.m4a)" in said.err and "convert: ffmpeg" in said.err
    assert "broken.wav" in said.err and "(RTFx " in said.out
    fe = features.get("kaldi_fbank80", num_mel_bins=40)
    wave, _ = features.load(corpus / "a.wav")
    fbank = stored.Stored(out, fe)
    assert (fbank["a"][0] == fe(wave)[0].numpy()).all()
    assert set(fbank) == {"a", "sub/b.flac", "sub/b.ogg"}
    soundfile.write(corpus / "broken.wav", np.zeros(9000), 16000)  # mended, and one more
    soundfile.write(corpus / "c.wav", np.zeros(9000), 16000)
    assert cli.main(line) == 0
    assert "2 written, 3 there already, 0 failed" in capsys.readouterr().out
    assert len(stored.Stored(out, fe)) == 5
    assert cli.main(["extract", str(corpus), "--out", str(out)]) == 2
    assert "different: num_mel_bins" in capsys.readouterr().err


def test_manifest_in_two_processes(corpus, tmp_path):
    rows = [
        {"id": "x/one", "audio": "a.wav", "start": 0.1, "duration": 0.2},
        {"id": "x/two", "audio": str(corpus / "sub" / "b.flac")},
    ]
    manifest = corpus / "dev.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    tally = extract.extract(sources.find(manifest), tmp_path / "out", "whisper80", {}, jobs=2)
    assert (tally.done, tally.errors) == (2, [])
    x, n = stored.Stored(tmp_path / "out", features.get("whisper80"))["x/one"]
    assert x.shape == (20, 80) and n == 20
    assert tally.audio_s == pytest.approx(0.2 + 0.75)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "a"}', "dev.jsonl:1: wanted"),
        ("nothing", "dev.jsonl:1: wanted"),
        ('{"id": "a", "audio": "x.wav"}\n{"id": "a", "audio": "y.wav"}', "would both be 'a'"),
        ("", "an empty manifest"),
        ('{"id": "a", "audio": "x.wav", "duration": "long"}', "dev.jsonl:1: wanted"),
    ],
)
def test_bad_manifests(tmp_path, line, said):
    (tmp_path / "dev.jsonl").write_text(line)
    with pytest.raises(ValueError, match=said):
        sources.find(tmp_path / "dev.jsonl")


def test_ark(corpus, tmp_path, capsys):
    pytest.importorskip("kaldiio")
    out = tmp_path / "out"
    line = ["extract", str(corpus), "--out", str(out), "--format", "ark"]
    assert cli.main(line) == 1 and "3 written" in capsys.readouterr().out
    fe = features.get("kaldi_fbank80")
    found = dict(archive.read(out / "feats.scp", fe))
    wave, _ = features.load(corpus / "sub" / "b.flac")
    assert list(found) == ["a", "sub/b.flac", "sub/b.ogg"]
    assert (found["sub/b.flac"] == fe(wave)[0].numpy()).all()
    assert cli.main(line) == 1 and "0 written, 3 there already" in capsys.readouterr().out
    assert cli.main(line[:-2]) == 2
    assert "holds --format ark, wanted shards" in capsys.readouterr().err


def test_a_manifest_that_refers(corpus, tmp_path, capsys):
    rows = [
        {"id": "x/one", "audio": "a.wav", "start": 0.1, "duration": 0.2, "text": "größer"},
        {"id": "two", "audio": str(corpus / "sub" / "b.flac"), "duration": 0.75},
        {"id": "bad", "audio": "broken.wav"},
    ]
    (corpus / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    out, new = tmp_path / "out", tmp_path / "lists" / "dev.jsonl"
    line = ["extract", str(corpus / "dev.jsonl"), "--out", str(out), "--manifest", str(new)]
    assert cli.main(line) == 1 and "2 of 3 rows refer to features" in capsys.readouterr().out
    found = [json.loads(text) for text in new.read_text(encoding="utf-8").splitlines()]
    assert [row.pop("features", None) for row in found] == ["../out#x/one", "../out#two", None]
    assert found[0] == rows[0] | {"audio": "../corpus/a.wav"}
    assert found[1] == rows[1] and [i.id for i in sources.find(new)] == ["x/one", "two", "bad"]
    assert cli.main([*line[:1], str(corpus), *line[2:]]) == 2
    assert "--manifest wants a manifest" in capsys.readouterr().err


def test_an_interrupt_loses_nothing_that_is_done(corpus, tmp_path):
    def stop(item, extractor=None):
        raise KeyboardInterrupt

    fe = features.get("kaldi_fbank80")
    items = sources.find(corpus)
    with pytest.raises(KeyboardInterrupt):
        with folder.writing(tmp_path / "out", folder.holds(fe)):
            with stored.Writer(tmp_path / "out", "00000") as shard:
                shard.add(items[0].id, *fe(features.load(items[0].path)[0]))
                stop(items[1])
    tally = extract.extract(items, tmp_path / "out", "kaldi_fbank80")
    assert (tally.skipped, tally.done, len(tally.errors)) == (1, 2, 1)
    whole = stored.Stored(tmp_path / "out", fe)
    whole.verify()
    assert len(whole) == 3


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
    assert cli.main(["presets", "whisper80"]) == 0
    said = capsys.readouterr().out.splitlines()
    for name, about in (("low_freq", "Hz, lower edge"), ("log", "'ln' | 'log10' | 'db' | 'none'")):
        assert any(line.startswith(name) and about in line for line in said), name
    assert cli.main(["plot", str(corpus / "a.wav"), str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").stat().st_size > 10000


@pytest.mark.parametrize("command", ["extract", "plot"])
def test_what_cannot_be_read_or_written_is_one_line(corpus, tmp_path, capsys, command):
    sound, file = str(corpus / "a.wav"), str(corpus / "notes.txt")
    line = {"extract": ["--out", file], "plot": [str(tmp_path / "nowhere" / "a.png")]}[command]
    assert cli.main([command, sound, *line]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    line = {"extract": ["--out", str(tmp_path / "out")], "plot": [str(tmp_path / "a.png")]}[command]
    assert cli.main([command, str(corpus / "absent.wav"), *line]) == 2
    assert "absent.wav: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["presets", "extract", "plot", "compare"])
def test_help_of_a_command_shows_its_own_examples(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out.split("examples:")[1]
    assert {line.split()[1] for line in said.splitlines() if "  features " in line} == {command}


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
