"""A transcript as OpenAI's clients read it: json, text, srt, vtt, verbose_json, events."""

import json
import threading
from collections.abc import Callable

from speechllm.decode import written
from speechllm.decode.transcript import Word
from speechllm.serve.listening import Heard, Part

TYPES = {"text": "text/plain", "srt": "text/plain", "vtt": "text/vtt"}
FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRAINS = ("segment", "word")


def text_of(heard: Heard, name: str) -> str:
    """Write a transcript as text, srt or vtt."""
    transcript = heard.transcript
    return transcript.text + "\n" if name == "text" else written.FORMATS[name](transcript)


def json_of(heard: Heard) -> dict:
    """Write it as json."""
    usage = {"type": "duration", "seconds": round(heard.duration_s, 3)}
    return {"text": heard.transcript.text, "usage": usage}


def verbose(heard: Heard, task: str, language: str, temperature: float, grains: set) -> dict:
    """Write it as verbose_json.

    `avg_logprob` is the model's own and is left out where a model does not tell it. What
    `no_speech_prob` has is the share of the segment in which the detector of speech hears none.
    """
    values = {
        "task": task,
        "language": language,
        "duration": round(heard.duration_s, 3),
        "text": heard.transcript.text,
        "segments": None,
        "words": None,
        "usage": json_of(heard)["usage"],
    }
    if "segment" in grains:
        shown = [_segment(i, part, temperature) for i, part in enumerate(heard.parts)]
        values["segments"] = shown
    if "word" in grains:
        words = [word for part in heard.parts for word in part.segment.timed()]
        values["words"] = [word_of(word) for word in words]
    return {key: value for key, value in values.items() if value is not None}


def _segment(number: int, part: Part, temperature: float) -> dict:
    segment = part.segment
    values = {
        "id": number,
        "seek": round(segment.start * 100),  # OpenAI's unit, frames of 10 ms
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": part.said.ids,
        "temperature": temperature,
        "avg_logprob": part.said.logprob,
        "compression_ratio": round(part.compression, 4),
        "no_speech_prob": round(part.silence, 4),
        "alternatives": [_other(*one) for one in part.said.others] or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _other(text: str, logprob: float) -> dict:
    """Write what else might have been said; ours, as OpenAI's segments have none."""
    return {"text": text, "avg_logprob": logprob}


def word_of(word: Word) -> dict:
    """Write a word with its times, and the confidence in it where there is one."""
    values = {"word": word.text, "start": word.start, "end": word.end}
    sure = {} if word.confidence is None else {"confidence": round(word.confidence, 4)}
    return values | sure


def event(values: dict) -> bytes:
    """Write one server-sent event."""
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n".encode()


class Deltas:
    """Beginnings of a text, each longer than the one before, become what is new in each.

    A beginning that takes back what was sent is not sent. What may still change, a letter of which
    some bytes are missing and the space at the end, is kept until it is sure.
    """

    def __init__(self, send: Callable[[str], None]):
        self._send, self._sent, self._lock = send, "", threading.Lock()

    def __call__(self, text: str, over: bool = False) -> None:
        """Take a beginning, or the whole."""
        text = text if over else text.rstrip("\N{REPLACEMENT CHARACTER}").rstrip()
        with self._lock:
            if len(text) > len(self._sent) and text.startswith(self._sent):
                new, self._sent = text[len(self._sent) :], text
                self._send(new)
