"""Sound that is still coming: each word once, in order, whatever the chunks; pipes that stop."""

import io
import json

import numpy as np
import pytest

from features.resampling import Resampler
from speechllm.cli import listening
from speechllm.decode.live import Live
from speechllm.decode.transcript import Heard, Word

RATE = 16000
WORDS = "one two three four five six seven eight nine ten".split()
LEVEL = 0.002  # of loudness between two words


class Listener:
    """Hears words that are tones of one loudness each; of one that is cut off half its letters."""

    sampling_rate, window_s, untimed = RATE, 30.0, ""

    def __init__(self):
        self.longest, self.waves = 0.0, []

    def timed(self, waves):
        (wave,) = waves
        self.waves.append(wave)
        self.longest = max(self.longest, len(wave) / RATE)
        levels = np.round(np.abs(wave) / LEVEL).astype(int)
        edges = np.flatnonzero(np.diff(np.r_[-1, levels, -1]))
        words = []
        for a, b in zip(edges, edges[1:], strict=False):
            if levels[a] < 10 or b - a < 800:
                continue
            text = WORDS[(levels[a] - 10) % 10]
            text = text[: len(text) // 2 + 1] if b == len(wave) else text
            words.append(Word(round(a / RATE, 3), round(b / RATE, 3), text, 0.9))
        return [Heard(" ".join(w.text for w in words), tuple(words))]


def talk(numbers, pauses=()) -> np.ndarray:
    """Say words of 0.3 s, 0.05 s between them, 1.5 s after those in `pauses`."""
    pieces = [np.zeros(RATE // 2)]
    for i, number in enumerate(numbers):
        sign = np.where(np.arange(int(0.3 * RATE)) % 2, 1, -1)
        pieces += [sign * (10 + number) * LEVEL]
        pieces += [np.zeros(int((1.5 if i in pauses else 0.05) * RATE))]
    return np.concatenate([*pieces, np.zeros(RATE // 2)]).astype(np.float32)


def heard(live, wave, size: int):
    updates = [live(wave[at : at + size]) for at in range(0, len(wave), size)]
    updates.append(live.flush())
    return [w for one in updates for w in one.final], updates


@pytest.mark.parametrize("size", [333, 1600, 16000, 10**6])
def test_each_word_once_whatever_the_chunks(size):
    numbers = [i % 10 for i in range(60)]
    wave = talk(numbers, pauses={9, 33})
    listener = Listener()
    found, updates = heard(Live(listener, vad="energy"), wave, size)
    assert [w.text for w in found] == [WORDS[n] for n in numbers]
    times = [edge for w in found for edge in (w.start, w.end)]
    assert times == sorted(times) and 0.45 < times[0] < 0.55
    assert abs(times[-1] - (len(wave) / RATE - 0.55)) < 0.05
    assert listener.longest < 15
    if size < RATE:
        assert any(one.partial for one in updates) and sum(one.paused for one in updates) >= 3


def test_words_are_final_soon_and_memory_does_not_grow():
    wave = talk([i % 10 for i in range(900)])  # five minutes without a pause
    listener = Listener()
    live, n = Live(listener, vad="energy"), 0
    for at in range(0, len(wave), 8000):
        n += len(live(wave[at : at + 8000]).final)
        said = (at + 8000) / RATE - 0.5
        assert n >= said / 0.35 - 6
    assert listener.longest < 15 and len(live._final) < 60


def test_silence_says_nothing_and_is_not_kept():
    listener = Listener()
    live = Live(listener, vad="energy")
    found, _ = heard(live, np.zeros(60 * RATE, np.float32), 4000)
    assert not found and not listener.waves and len(live._wave) == 0


def test_a_word_that_was_heard_otherwise_is_said_once():
    class Unsure(Listener):
        def timed(self, waves):
            (one,) = super().timed(waves)
            odd = len(self.waves) % 3 == 0  # every third hearing has another first word
            words = [Word(w.start, w.end, "won" if odd and i == 0 else w.text)
                     for i, w in enumerate(one.words)]  # fmt: skip
            return [Heard(" ".join(w.text for w in words), tuple(words))]

    numbers = [i % 10 for i in range(40)]
    found, _ = heard(Live(Unsure(), vad="energy"), talk(numbers), 4000)
    wanted = [WORDS[n] for n in numbers]
    assert len(found) == len(wanted)
    assert sum(a.text != b for a, b in zip(found, wanted, strict=True)) <= 6


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_are_brought_to_the_listeners(rate):
    wave = np.random.default_rng(0).standard_normal(rate).astype(np.float32) * 0.1
    listener = Listener()
    live = Live(listener, rate, every_s=9.0, vad="none")
    for at in range(0, rate, 777):
        live(wave[at : at + 777])
    live.flush()
    whole = Resampler(rate, RATE)
    wanted = np.concatenate([whole(wave[None])[0], whole.flush()[0]])
    np.testing.assert_allclose(listener.waves[-1], wanted, atol=1e-6)
    assert len(wanted) == RATE


def test_chunks_that_are_none():
    live = Live(Listener())
    whole = (talk([1, 2]) * 32768).astype(np.int16)
    assert [w.text for w in heard(Live(Listener(), vad="energy"), whole, 999)[0]] == [
        "two",
        "three",
    ]
    for chunk, wanted in (
        (np.zeros((2, 5), np.float32), "one channel"),
        (np.zeros(5, np.int32), "int16"),
        (np.zeros(5, bool), "one channel"),
        (np.full(5, np.nan), "no numbers"),
    ):
        with pytest.raises(ValueError, match=wanted):
            live(chunk)
    for how in ({"every_s": 0.0}, {"sampling_rate": -1}, {"vad": "ears"}):
        with pytest.raises(ValueError):
            Live(Listener(), **how)


def as_pipe(data: bytes):
    return listening.pipe(io.BufferedReader(io.BytesIO(data)), RATE)


def test_a_pipe(capsys):
    data = (talk([1, 2, 3], pauses={1}) * 32768).astype("<i2").tobytes()
    assert listening.run(Live(Listener(), vad="energy"), as_pipe(data)) == 0
    assert capsys.readouterr().out.split() == ["two", "three", "four"]
    assert listening.run(Live(Listener(), vad="energy"), as_pipe(data + b"x"), as_json=True) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [w["word"] for row in rows for w in row["final"]] == ["two", "three", "four"]
    assert "within a sample" in err and set(rows[0]) == {"final", "partial"}
    assert rows[-1]["final"][0].keys() >= {"word", "start", "end", "confidence"}
    assert listening.run(Live(Listener()), as_pipe(b"")) == 0
    with pytest.raises(ValueError, match="raw samples"):
        listening.run(Live(Listener()), as_pipe(b"RIFF" + bytes(100)))


def test_what_was_heard_stays_where_it_stops(capsys, monkeypatch):
    wave = talk([1, 2, 3])

    def stopping(waiting):
        yield wave[: len(wave) // 2]
        yield wave[len(wave) // 2 :]
        raise KeyboardInterrupt

    monkeypatch.setattr(listening, "_batches", stopping)
    assert listening.run(Live(Listener(), vad="energy"), iter(())) == 130
    out, err = capsys.readouterr()
    assert out.split() == ["two", "three", "four"] and "all that was heard" in err
