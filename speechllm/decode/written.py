"""What was said in a sound file, written as text, JSON, subtitles or annotation.

    transcript = Transcript("talk", "talk.mp3", 62.1, (Segment(0.4, 5.2, "hello there"), ...))
    (folder / "talk.srt").write_text(written.FORMATS["srt"](transcript))

A segment's times are those of its speech. Where its words have no times of their own (they come of
a head that aligns), a word's are spread: by its letters over the segment's speech, pauses left out.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

LINE, LINES = 42, 2  # letters and lines of a subtitle, as broadcasters have them


@dataclass(frozen=True)
class Word:
    """A word and its times, in seconds of the whole file."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Segment:
    """What was said in one window.

    Attributes:
        speech: (start, end) of each stretch without a pause, in seconds of the whole file.
        text: what was said.
        channel: from 0; None where the channels were heard together.
        words: with times, where something has aligned them.
    """

    speech: tuple[tuple[float, float], ...]
    text: str
    channel: int | None = None
    words: tuple[Word, ...] = ()

    @property
    def start(self) -> float:
        """Where it begins, in seconds."""
        return self.speech[0][0]

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.speech[-1][1]

    def timed(self) -> list[Word]:
        """Give each word with its times, or with those that its letters have a share of."""
        return list(self.words) or list(self._spread(self.text.split()))

    def cues(self) -> list[Word]:
        """Give pieces that a screen has room for, with their times."""
        lines = _even_lines(self.text)
        chunks = [lines[i : i + LINES] for i in range(0, len(lines), LINES)]
        words, cues = self.timed(), []
        if not self.words or len(words) != len(self.text.split()):
            spread = self._spread([" ".join(chunk) for chunk in chunks])
            return [Word(one.start, one.end, "\n".join(chunk))
                    for one, chunk in zip(spread, chunks, strict=True)]  # fmt: skip
        for chunk in chunks:
            n = sum(len(line.split()) for line in chunk)
            cues.append(Word(words[0].start, words[n - 1].end, "\n".join(chunk)))
            words = words[n:]
        return cues

    def _spread(self, pieces: list[str]) -> Iterator[Word]:
        total, done = sum(map(len, pieces)), 0
        for piece in pieces:
            start, done = self._time(done / total, late=True), done + len(piece)
            yield Word(start, self._time(done / total), piece)

    def _time(self, share: float, late: bool = False) -> float:
        """Give the time at which this share of the speech is over; `late`: after a pause there."""
        left = share * sum(end - start for start, end in self.speech)
        for start, end in self.speech:
            if left < end - start - 1e-6 or (not late and left < end - start + 1e-6):
                return round(start + left, 3)
            left -= end - start
        return self.end


@dataclass(frozen=True)
class Transcript:
    """What was said in one file, in order.

    Attributes:
        id: names it among others.
        audio: the file.
        duration: its seconds.
        segments: by their start.
    """

    id: str
    audio: str
    duration: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it, in one line."""
        return " ".join(one.text for one in self.segments if one.text)


def _even_lines(text: str) -> list[str]:
    """Wrap a text to as few subtitles as it takes, their lines alike in length."""
    lines = textwrap.wrap(text, LINE, break_on_hyphens=False)
    if len(lines) < 2:
        return lines
    most = len(lines) + len(lines) % LINES  # the last subtitle's second line is used, too
    longest = max(map(len, text.split()))
    for width in range(min(max(len(text) // most, longest), LINE), LINE):
        even = textwrap.wrap(text, width, break_on_hyphens=False)
        if len(even) <= most:
            return even
    return lines


def text(transcript: Transcript) -> str:
    """A line a segment; where channels were heard apart, each with its own: `[2] hello`."""
    return "".join(f"{line(one)}\n" for one in transcript.segments)


def line(segment: Segment) -> str:
    """One segment as a line of text."""
    return _who(segment) + segment.text


def as_json(transcript: Transcript) -> str:
    """All that is known, with times in seconds."""
    values = {
        "id": transcript.id,
        "audio": transcript.audio,
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": [shown(one) for one in transcript.segments],
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def shown(segment: Segment) -> dict:
    """One segment as JSON has it; `words` only where they were aligned."""
    words = [{"start": w.start, "end": w.end, "text": w.text} for w in segment.words]
    return {
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        **({"channel": segment.channel} if segment.channel is not None else {}),
        "speech": [list(span) for span in segment.speech],
        **({"words": words} if words else {}),
    }


def srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, hours:minutes:seconds,thousandths."""
    cues = [(who, cue) for one in transcript.segments for who, cue in _cues(one)]
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{who}{cue.text}\n"
        for number, (who, cue) in enumerate(cues, 1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT; a channel is a voice."""
    blocks = ["WEBVTT\n"]
    for one in transcript.segments:
        voice = "" if one.channel is None else f"<v Channel {one.channel + 1}>"
        for _, cue in _cues(one):
            said = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            blocks.append(f"{_clock(cue.start)} --> {_clock(cue.end)}\n{voice}{said}\n")
    return "\n".join(blocks)


def ctm(transcript: Transcript) -> str:
    """NIST's time marks: file, channel, start, duration, word."""
    name, rows = transcript.id.replace(" ", "_"), []
    for one in transcript.segments:
        for word in one.timed():
            times = f"{word.start:.3f} {word.end - word.start:.3f}"
            rows.append(f"{name} {(one.channel or 0) + 1} {times} {word.text}\n")
    return "".join(rows)


def textgrid(transcript: Transcript) -> str:
    """Praat: a tier a channel, its intervals without gaps from 0 to the end."""
    channels = sorted({one.channel for one in transcript.segments}, key=lambda c: c or 0) or [None]
    end = max([transcript.duration, *(one.end for one in transcript.segments)])
    head = (
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {end}\n'
        f"tiers? <exists>\nsize = {len(channels)}\nitem []:\n"
    )
    tiers = [
        _tier(number, channel, [s for s in transcript.segments if s.channel == channel], end)
        for number, channel in enumerate(channels, 1)
    ]
    return head + "".join(tiers)


def _tier(number: int, channel: int | None, segments: list[Segment], end: float) -> str:
    intervals, at = [], 0.0
    for one in segments:
        if one.start > at:
            intervals.append((at, one.start, ""))
        intervals.append((max(at, one.start), one.end, one.text.replace('"', '""')))
        at = one.end
    if end > at or not intervals:
        intervals.append((at, end, ""))
    name = "speech" if channel is None else f"channel {channel + 1}"
    rows = [
        f"        intervals [{i}]:\n            xmin = {a}\n            xmax = {b}\n"
        f'            text = "{said}"\n'
        for i, (a, b, said) in enumerate(intervals, 1)
    ]
    return (
        f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"\n'
        f"        xmin = 0\n        xmax = {end}\n        intervals: size = {len(intervals)}\n"
        + "".join(rows)
    )


def _cues(segment: Segment) -> list[tuple[str, Word]]:
    return [(_who(segment), cue) for cue in segment.cues()]


def _who(segment: Segment) -> str:
    return "" if segment.channel is None else f"[{segment.channel + 1}] "


def _clock(seconds: float, mark: str = ".") -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"


FORMATS = {
    "text": text,
    "json": as_json,
    "srt": srt,
    "vtt": vtt,
    "ctm": ctm,
    "textgrid": textgrid,
}
SUFFIXES = {"text": ".txt", "textgrid": ".TextGrid"}  # the others are called as they are
