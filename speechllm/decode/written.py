"""What was said in a sound file, written as text, JSON, subtitles or annotation.

(folder / "talk.srt").write_text(written.FORMATS["srt"](transcript))
"""

import json

from speechllm.decode.transcript import Segment, Transcript, Word


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
    words = [word(one) for one in segment.words]
    return {
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        **({"channel": segment.channel} if segment.channel is not None else {}),
        "speech": [list(span) for span in segment.speech],
        **({"words": words} if words else {}),
    }


def word(one: Word) -> dict:
    """One word as JSON has it."""
    sure = {} if one.confidence is None else {"confidence": round(one.confidence, 4)}
    return {"word": one.text, "start": one.start, "end": one.end, **sure}


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
    """NIST's time marks: file, channel, start, duration, word, and its confidence if it has one."""
    name, rows = transcript.id.replace(" ", "_"), []
    for one in transcript.segments:
        for word in one.timed():
            times = f"{word.start:.3f} {word.end - word.start:.3f}"
            sure = "" if word.confidence is None else f" {word.confidence:.4f}"
            rows.append(f"{name} {(one.channel or 0) + 1} {times} {word.text}{sure}\n")
    return "".join(rows)


def textgrid(transcript: Transcript) -> str:
    """Praat: a tier a channel, and one of its words where they were aligned.

    Intervals stand without gaps from 0 to the end.
    """
    channels = sorted({one.channel for one in transcript.segments}, key=lambda c: c or 0) or [None]
    end = max([transcript.duration, *(one.end for one in transcript.segments)])
    tiers: list[tuple[str, list]] = []
    for channel in channels:
        segments = [s for s in transcript.segments if s.channel == channel]
        name = "" if channel is None else f"channel {channel + 1}"
        tiers.append((name or "speech", [(s.start, s.end, s.text) for s in segments]))
        if any(s.words for s in segments):
            words = [(w.start, w.end, w.text) for s in segments for w in s.timed()]
            tiers.append((f"{name} words".strip(), words))
    head = (
        f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = {end}\n'
        f"tiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    )
    return head + "".join(_tier(number, *tier, end) for number, tier in enumerate(tiers, 1))


def _tier(number: int, name: str, said: list[tuple[float, float, str]], end: float) -> str:
    intervals, at = [], 0.0
    for a, b, text in said:
        if a > at:
            intervals.append((at, a, ""))
        if b > max(at, a):  # Praat refuses an interval without length
            intervals.append((max(at, a), b, text.replace('"', '""')))
            at = b
    if end > at or not intervals:
        intervals.append((at, end, ""))
    rows = [
        f"        intervals [{i}]:\n            xmin = {a}\n            xmax = {b}\n"
        f'            text = "{text}"\n'
        for i, (a, b, text) in enumerate(intervals, 1)
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
