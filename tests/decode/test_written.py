"""Transcripts as text, JSON, subtitles and annotation: read back, times in order and inside."""

import json
import re

import pytest

from speechllm.decode import written
from speechllm.decode.transcript import Segment, Transcript, Word
from speechllm.decode.written import FORMATS

LONG = (
    "it is a truth universally acknowledged that a single man in possession of a good fortune " * 3
)
TALK = Transcript(
    "a b",
    "a b.mp3",
    70.0,
    (
        Segment(((1.0, 3.0), (5.0, 9.0)), 'she said "no" & <left>'),
        Segment(((3600.5, 3630.0),), LONG.strip()),
    ),
)


def times(text: str) -> list[tuple[float, float]]:
    found = re.findall(r"(\d+):(\d+):(\d+)[.,](\d+) --> (\d+):(\d+):(\d+)[.,](\d+)", text)
    return [
        (
            int(a) * 3600 + int(b) * 60 + int(c) + int(d) / 1000,
            int(e) * 3600 + int(f) * 60 + int(g) + int(h) / 1000,
        )
        for a, b, c, d, e, f, g, h in found
    ]


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_subtitles_fit_a_screen_and_the_speech(name):
    text = FORMATS[name](TALK)
    spans = times(text)
    assert spans[0] == (1.0, 9.0) and spans[1][0] == 3600.5 and spans[-1][1] == 3630.0
    assert all(a < b for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in zip(spans, spans[1:], strict=False))
    assert all(len(line) <= 42 for line in text.splitlines() if "-->" not in line)
    assert "".join(text.split()).count("universally") == 3
    assert ("&lt;left&gt;" in text and "&amp;" in text) == (name == "vtt")
    assert text.startswith("WEBVTT\n\n" if name == "vtt" else "1\n00:00:01,000 --> 00:00:09,000\n")


def test_words_have_their_share_and_no_pause():
    words = Segment(((0.0, 2.0), (6.0, 8.0)), "aaaa bbbb").timed()
    assert words == [Word(0.0, 2.0, "aaaa"), Word(6.0, 8.0, "bbbb")]
    rows = [line.split() for line in FORMATS["ctm"](TALK).splitlines()]
    assert all(len(row) == 5 and row[0] == "a_b" and row[1] == "1" for row in rows)
    assert " ".join(row[4] for row in rows) == TALK.text
    starts = [float(row[2]) for row in rows]
    assert starts == sorted(starts) and all(float(row[3]) > 0 for row in rows)
    aligned = (Word(1.5, 1.7, "good"), Word(1.9, 2.0, "day"))
    segment = Segment(((1.0, 3.0),), "good day", words=aligned)
    assert segment.timed() == list(aligned) and segment.cues() == [Word(1.5, 2.0, "good day")]


def test_json_says_all():
    values = json.loads(FORMATS["json"](TALK))
    assert values["text"] == TALK.text and values["duration"] == 70.0
    assert values["segments"][0]["speech"] == [[1.0, 3.0], [5.0, 9.0]]
    assert "words" not in values["segments"][0] and "channel" not in values["segments"][0]


def test_channels_are_told_apart():
    two = (Segment(((0, 1),), "hi", 0), Segment(((0.5, 2),), "oh", 1))
    talk = Transcript("t", "t.wav", 3.0, two)
    assert FORMATS["text"](talk) == "[1] hi\n[2] oh\n"
    assert "<v Channel 2>oh" in FORMATS["vtt"](talk) and "[2] oh" in FORMATS["srt"](talk)
    assert [row.split()[1] for row in FORMATS["ctm"](talk).splitlines()] == ["1", "2"]
    grid = FORMATS["textgrid"](talk)
    assert 'name = "channel 1"' in grid and 'name = "channel 2"' in grid and "size = 2" in grid


def test_a_textgrid_has_no_gaps():
    grid = FORMATS["textgrid"](TALK)
    assert '"she said ""no"" & <left>"' in grid
    spans = [
        (float(a), float(b))
        for a, b in re.findall(r"intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)", grid)
    ]
    assert spans[0][0] == 0.0 and spans[-1][1] == 3630.0  # beyond what the header said
    assert all(b == c for (_, b), (c, _) in zip(spans, spans[1:], strict=False))
    assert f"intervals: size = {len(spans)}" in grid


@pytest.mark.parametrize("name", FORMATS)
def test_silence_is_empty_in_every_format(name):
    text = FORMATS[name](Transcript("s", "s.wav", 2.0, ()))
    assert not times(text)
    assert {"text": "", "srt": "", "ctm": "", "vtt": "WEBVTT\n"}.get(name, text) == text


def test_scripts_without_spaces_are_cut_too():
    cues = Segment(((0, 30),), "語" * 200).cues()
    assert len(cues) == 3 and all(len(line) <= 42 for c in cues for line in c.text.split("\n"))
    assert written.SUFFIXES["text"] == ".txt"
