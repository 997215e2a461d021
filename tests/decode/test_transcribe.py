"""Files of any length: as their windows alone, resumed, by channel; what cannot be heard."""

import json

import numpy as np
import pytest
import soundfile
import torch

import speechllm
from features.sources import Item
from speechllm import cli, config
from speechllm.decode import long, shelf, voice
from speechllm.decode.listeners import OfSpeech, Wanted
from speechllm.decode.speech import Speech
from speechllm.decode.transcribe import Options, transcripts
from speechllm.models.system import System

RATE = 16000


@pytest.fixture(scope="module")
def speech(tiny):
    lively = config.changed(config.load(tiny / "tiny.toml"), ["llm.config.initializer_range=0.5"])
    system = System.open(lively, str(tiny / "bpe"))
    torch.manual_seed(0)
    return Speech(system, system.build())


def talk(*tones: tuple[float, float, float], seconds: float) -> np.ndarray:
    """Make tones (start, end, Hz) in near silence: to "energy" that is speech."""
    wave = 1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    for start, end, hz in tones:
        a, b = round(start * RATE), round(end * RATE)
        wave[a:b] = 0.1 * np.sin(2 * np.pi * hz * np.arange(b - a) / RATE)
    return wave.astype(np.float32)


MANY = [(i * 5 + 1, i * 5 + 3 + i % 2, (300, 900, 2500)[i % 3]) for i in range(8)]


@pytest.fixture
def folder(tmp_path):
    """Make a folder of a long file, a short one, silence and one of 50 ms."""
    home = tmp_path / "in"
    (home / "sub").mkdir(parents=True)
    soundfile.write(home / "long.wav", talk(*MANY, seconds=42), RATE, subtype="FLOAT")
    soundfile.write(home / "sub" / "short.flac", talk((0.5, 1.5, 900), seconds=2), RATE)
    soundfile.write(home / "silent.wav", talk(seconds=3), RATE)
    soundfile.write(home / "blip.wav", talk((0, 0.05, 900), seconds=0.05), RATE)
    return home


def call(*words) -> int:
    return cli.main(["transcribe", "exp", *map(str, words), "--vad=energy", "--device=cpu"])


@pytest.fixture(autouse=True)
def loaded(speech, monkeypatch, tmp_path):
    """Let the command load the tiny model."""
    monkeypatch.setattr(Speech, "load", lambda folder, device: speech)
    (tmp_path / "exp").mkdir()
    monkeypatch.chdir(tmp_path)


def test_a_long_file_is_its_windows(speech, folder):
    listener = OfSpeech(speech)
    assert 5 < listener.window_s < 20  # the LLM reads 256 positions
    wave = talk(*MANY, seconds=42)
    cutter = long.Cutter(RATE, voice.detector("energy", RATE), listener.window_s)
    alone = [listener([w.wave])[0] for w in long.windows([wave], cutter)]
    assert len(alone) > 3 and len(set(alone)) > 1
    wanted = " ".join(" ".join(text.split()) for text in alone if text)
    path = folder / "long.wav"
    items = [Item("a", str(path)), Item("b", str(folder / "sub" / "short.flac"))]
    for max_batch_s in (1.0, 200.0):
        found = list(transcripts(listener, items, Options("energy", max_batch_s=max_batch_s)))
        assert [file.item.id for file in found] == ["a", "b"]
        assert found[0].transcript.text == wanted and not found[0].error
    short = wave[:RATE]
    assert speech.transcribe([path, short, wave], vad="energy") == [
        wanted,
        speech.transcribe(short),
        wanted,
    ]


def test_into_a_folder_and_on(speech, folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    asked = []
    requests = OfSpeech.requests

    def counted(self, waves):
        asked.append(len(waves))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return requests(self, waves)

    monkeypatch.setattr(OfSpeech, "requests", counted)
    words = (folder, "--out", out, "--format", "text,json", "srt", "--max-batch-s=9")
    assert call(*words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    heard = len((out / "windows.jsonl").read_text().splitlines())
    assert 0 < heard <= sum(asked[:2])
    monkeypatch.setattr(OfSpeech, "requests", lambda *a: asked.append(0) or requests(*a))
    assert call(*words) == 0
    err = capsys.readouterr().err
    assert "4 files heard, 2 with words" in err and "RTFx" in err and str(out) in err
    assert not (out / "windows.jsonl").exists()
    assert (out / "silent.txt").read_text() == "" == (out / "blip.srt").read_text()
    assert (out / "sub" / "short.srt").read_text().startswith("1\n00:00:00,480 --> ")
    values = json.loads((out / "long.json").read_text())
    fresh = list(transcripts(OfSpeech(speech), [Item("long", str(folder / "long.wav"))],
                             Options("energy", max_batch_s=9.0)))[0].transcript  # fmt: skip
    assert values["text"] == fresh.text and values["duration"] == 42.0
    n = len(asked)
    assert call(*words[:3], "--format=vtt") == 0 and len(asked) == n  # formats ask nobody
    assert "4 were there already" in capsys.readouterr().err
    assert (out / "long.vtt").read_text().startswith("WEBVTT")
    soundfile.write(folder / "silent.wav", talk((0.5, 1.5, 300), seconds=3), RATE)
    assert call(*words) == 0 and len(asked) == n + 1  # it has changed
    assert (out / "silent.txt").read_text()
    assert call(*words[:3], "--window-s=3") == 2
    err = capsys.readouterr().err
    assert "options.window_s" in err and "--again" in err and err.count("\n") == 2 + 1
    assert call(*words[:3], "--window-s=3", "--again") == 0
    other = tmp_path / "long.wav"
    soundfile.write(other, talk(seconds=1), RATE)
    assert call(other, *words[1:3], "--window-s=3") == 2
    assert "choose another --out" in capsys.readouterr().err
    record = json.loads((out / "decode.json").read_text())
    assert (record["n_files"], record["n_with_words"], record["options"]["vad"]) == (4, 3, "energy")


def test_standard_output(folder, capsys):
    path = folder / "sub" / "short.flac"
    assert call(path) == 0
    out, err = capsys.readouterr()
    assert out.strip() and "==>" not in out and "1 file heard, 1 with words" in err
    assert call(path, "--format=srt") == 0
    assert "-->" in capsys.readouterr().out
    assert call(folder / "silent.wav") == 0
    out, err = capsys.readouterr()
    assert out == "" and "1 file heard, 0 with words" in err
    assert call(folder) == 0
    assert capsys.readouterr().out.count("==>") == 2


def test_subtitles_without_times_of_words_say_so(folder, capsys):
    assert call(folder / "sub" / "short.flac", "--format=srt") == 0
    assert "1 with words that have no times: this model has no CTC head" in capsys.readouterr().err
    assert call(folder / "sub" / "short.flac") == 0
    assert "no times" not in capsys.readouterr().err


def test_channels_apart(folder, tmp_path, capsys):
    both = np.stack([talk((1, 2, 300), seconds=6), talk((3, 4, 2500), seconds=6)], 1)
    soundfile.write(tmp_path / "call.wav", both, RATE)
    assert call(tmp_path / "call.wav", "--channels=apart", "--format=json") == 0
    segments = json.loads(capsys.readouterr().out)["segments"]
    assert [one["channel"] for one in segments] == [0, 1]
    assert [round(one["start"]) for one in segments] == [1, 3]


def test_what_cannot_be_heard_is_said_and_the_rest_is_done(folder, tmp_path, capsys):
    whole = (folder / "long.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.wav").write_bytes(b"")
    assert call(folder, "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert "cut.wav: damaged or cut off" in err and "empty.wav: is empty" in err
    assert "4 files heard, 2 with words" in err and "2 not heard" in err
    assert (tmp_path / "out" / "long.txt").exists()
    assert not (tmp_path / "out" / "cut.txt").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--window-s=99"], "window_s: the model hears at most"),
        (["--window-s=0.1"], "window_s: wanted at least 1 s, got 0.1"),
        (["--format", "text", "srt"], "several need a folder, --out DIR"),
        (["--task=translate"], "which language is spoken? (--language CODE)"),
        (["--task=qa"], "no answer to the whole"),
        (["--language=xx"], "no language has the code 'xx'"),
    ],
)
def test_what_means_nothing_is_one_line(folder, capsys, words, wanted):
    assert call(folder / "long.wav", *words) == 2
    out, err = capsys.readouterr()
    assert wanted in err and err.count("\n") == 1 and not out


def test_names(folder, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert call(tmp_path / "none") == 2
    assert "no sound in it" in capsys.readouterr().err
    assert call(folder / "no.wav") == 2
    assert "no such file" in capsys.readouterr().err
    soundfile.write(tmp_path / "long.wav", talk(seconds=1), RATE)
    assert call(folder / "long.wav", tmp_path / "long.wav") == 2
    assert "would both be 'long'" in capsys.readouterr().err
    for id, name in (("../x", "text"), ("decode", "json"), ("/x", "srt")):
        with pytest.raises(ValueError, match="cannot be called so; rename"):
            shelf.place(tmp_path, id, name)
    with pytest.raises(SystemExit):
        call(folder, "--format=doc")
    assert "wanted some of text, json, srt" in capsys.readouterr().err


def test_a_language_is_asked_for(speech):
    listener = OfSpeech(speech, Wanted("translate", "de", "fr"))
    assert "German speech into French" in str(listener._messages)
    assert isinstance(listener([talk((0, 1, 300), seconds=1)])[0], str)
    assert "no effect" in OfSpeech(speech, Wanted(language="de")).needless
    assert OfSpeech(speech).identity != listener.identity


def test_ask_takes_the_same_road(speech, folder):
    path = str(folder / "long.wav")
    assert speech.ask(path, vad="energy") == speech.transcribe(path, vad="energy")
    with pytest.raises(ValueError, match="too long: .* the LLM reads 256"):
        speech.ask(path, "low")
    assert speechllm.load is not None
