"""Kaldi data directories: paths, segments, utt2dur; commands and archives are refused."""

import numpy as np
import pytest
import soundfile

import features
from speechllm.data.corpora import kaldi
from speechllm.data.manifest import Manifest


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for name, seconds in (("rec1", 4), ("rec2", 2)):
        soundfile.write(tmp_path / "data" / f"{name}.wav", np.full(8000 * seconds, 0.1), 8000)
    (folder / "wav.scp").write_text(f"rec1 ../rec1.wav\nrec2 {tmp_path}/data/rec2.wav\n")
    (folder / "text").write_text("rec1 hello  there\nrec2 good bye\n")
    (folder / "utt2spk").write_text("rec1 ann\nrec2 bob\n")
    return folder


def segmented(data):
    (data / "segments").write_text("a rec1 0.5 1.25\nb rec1 2 -1\nc rec2 0 2.005\n")
    (data / "text").write_text("a one\nb two\nc three\n")
    (data / "utt2spk").write_text("a ann\nb ann\nc bob\n")


def test_whole_recordings(data, tmp_path):
    paths = kaldi.Config(corpus=str(data), out=str(tmp_path / "out"), lang="en").prepare()
    rows = Manifest(paths["train"])
    assert rows[0] == {
        "id": "rec1",
        "audio": str(tmp_path / "data" / "rec1.wav"),
        "text": "hello  there",
        "speaker": "ann",
        "lang": "en",
        "start": 0.0,
        "duration": 4.0,
    }
    assert rows.ids == ["rec1", "rec2"]


def test_segments(data, tmp_path):
    segmented(data)
    rows = Manifest(kaldi.Config(corpus=str(data), out=str(tmp_path / "out")).prepare()["train"])
    assert [(row["id"], row["start"], row["duration"], row["text"]) for row in rows] == [
        ("a", 0.5, 0.75, "one"),
        ("b", 2.0, 2.0, "two"),
        ("c", 0.0, 2.005, "three"),
    ]


def test_a_folder_of_directories_and_a_root(data, tmp_path):
    (data / "wav.scp").write_text("rec1 rec1.wav\nrec2 rec2.wav\n")
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="no such file"):
        kaldi.Config(corpus=str(tmp_path / "data"), out=out).prepare()
    paths = kaldi.Config(
        corpus=str(tmp_path / "data"), out=out, root=str(tmp_path / "data")
    ).prepare()
    assert list(paths) == ["train"] and len(Manifest(paths["train"])) == 2


def test_utt2dur_spares_the_headers(data, tmp_path):
    (data / "utt2dur").write_text("rec1 3.9\nrec2 2.0\n")
    rows = Manifest(kaldi.Config(corpus=str(data), out=str(tmp_path / "out")).prepare()["train"])
    np.testing.assert_allclose(rows.durations, [3.9, 2.0])


@pytest.mark.parametrize(
    "name,line,message",
    [
        ("wav.scp", "rec1 sph2pipe -f wav rec1.sph |", "wav.scp:1: a command"),
        ("wav.scp", "rec1 raw.ark:123", "wav.scp:1: an archive"),
        ("wav.scp", "rec1", "wav.scp:1: no path"),
        ("wav.scp", "rec1 ../none.wav", "segments:1: .*none.wav: no such file"),
        ("segments", "a rec1 3 1", "segments:1: a goes from 3.0 to 1.0"),
        ("segments", "a rec1 zero 1", "segments:1: wanted: <utterance>"),
        ("segments", "a rec1", "segments:1: wanted: <utterance>"),
        ("segments", "a rec9 0 1", "segments:1: a is cut from rec9"),
        ("segments", "a rec1 3 9", "segments:1: ends at 9.000 s, but .* has 4.000 s"),
        ("segments", "a rec1 5 9", "segments:1: start 5.0 s is past the end"),
        ("text", "a", "segments:1: a has no words"),
        ("text", "z what", "text:1: z has no audio"),
        ("text", "b two", "text:2: b stands at .*text:1 already"),
    ],
)
def test_faults_name_file_and_line(data, tmp_path, name, line, message):
    segmented(data)
    lines = (data / name).read_text().splitlines()
    (data / name).write_text("\n".join([line, *lines[1:]]))
    with pytest.raises(ValueError, match=message):
        kaldi.Config(corpus=str(data), out=str(tmp_path / "out")).prepare()


def test_no_directory(tmp_path):
    with pytest.raises(ValueError, match="neither wav.scp"):
        kaldi.Config(corpus=str(tmp_path), out=str(tmp_path / "out")).prepare()


@pytest.fixture
def call(tmp_path):
    """Two speakers on the two channels of one recording: 300 Hz and 1100 Hz."""
    data = tmp_path / "call"
    data.mkdir()
    t = np.arange(32000) / 16000
    both = np.stack([np.sin(2 * np.pi * hz * t) for hz in (300, 1100)], 1)
    soundfile.write(data / "call1.wav", 0.5 * both, 16000)
    (data / "wav.scp").write_text("call1 call1.wav\n")
    (data / "text").write_text("a yes\nb no\n")
    return data


def test_the_fifth_field_of_segments_is_the_channel(call, tmp_path):
    for marks in (("0", "1"), ("A", "B")):
        lines = [f"{id} call1 0.5 2.0 {mark}\n" for id, mark in zip("ab", marks, strict=True)]
        (call / "segments").write_text("".join(lines))
        rows = Manifest(kaldi.Config(corpus=str(call), out=str(tmp_path / "o")).prepare()["call"])
        for row, hz in zip(rows, (300, 1100), strict=True):
            wave, _ = features.load(
                row["audio"], 16000, row["start"], row["duration"], channel=row["channel"]
            )
            assert np.argmax(np.abs(np.fft.rfft(wave))) * 16000 / len(wave) == hz


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a call1 0.5 2.0 2", "segments:1: channel 2 \\(from 0\\), but .* has 2"),
        ("a call1 0.5 2.0 left", "segments:1: a has 'left' behind its end"),
        ("a call1 0.5 2.0 0 1", "segments:1: a has '0 1' behind its end"),
        ("a call1 nan 2.0 0", "segments:1: 'start' is nan"),
    ],
)
def test_channels_that_are_none(call, tmp_path, line, says):
    (call / "segments").write_text(line + "\nb call1 0 -1 1\n")
    with pytest.raises(ValueError, match=says):
        kaldi.Config(corpus=str(call), out=str(tmp_path / "o")).prepare()


def test_advice_on_sph2pipe_names_the_channel(call, tmp_path):
    (call / "wav.scp").write_text("call1 sph2pipe -f wav -p -c 2 call1.sph |\n")
    with pytest.raises(ValueError, match="never run.*own path, and 1 as the fifth field"):
        kaldi.Config(corpus=str(call), out=str(tmp_path / "o")).prepare()
