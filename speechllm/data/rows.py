"""One row of a manifest: what is wrong with it, how long it is, where its media lie.

Used by the reader and writer (`manifest.py`), which stop at the first fault, and by the validator,
which lists them all.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from speechllm import media
from speechllm.tasks.asr import sound

# Control characters, line separators and lone surrogates: no tokenizer wants them, and a newline
# or a tab breaks each line-based format that follows (.trn, TSV, logs).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTENT = ("audio", "text", "messages")
ANSWERS = (*CONTENT, "translation", "transcript", "chosen", "rejected", "question")
MEDIA = media.KINDS  # what a medium can be
STRINGS = (
    "audio features text chosen rejected transcript speaker lang task translation translation_lang"
).split()
LISTS = ("texts", "translations", "choices", "heard")


def faults(row: Any) -> Iterator[tuple[str, str]]:
    """Yield (what is wrong, what to do) for each fault of a row."""
    if not isinstance(row, dict):
        yield f"wanted a JSON object, got {type(row).__name__}", 'write {"id": ..., "text": ...}'
        return
    yield from _id_faults(row)
    if not any(row.get(key) is not None for key in CONTENT):
        yield "no 'audio', 'text' or 'messages'", "an example needs one of them"
    for key in STRINGS:
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            yield f"'{key}' is {value!r}", "write it as a string, in quotes"
    if isinstance(row.get("features"), str) and "#" not in row["features"]:
        yield f"'features' is {row['features']!r}", "write FOLDER#ID, or leave it out"
    if not isinstance(row.get("messages", []), list | None):
        yield "'messages' is not a list", 'write [{"role": "user", "content": [...]}, ...]'
    for key in ("text", "translation"):
        yield from _text_faults(key, row.get(key))
    yield from _list_faults(row)
    yield from _time_faults(row)


def _list_faults(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Several references, choices, names of sounds; an answer is one of its choices."""
    for key in LISTS:
        value = row.get(key)
        if value is not None and not _are_texts(value):
            yield f"'{key}' is {value!r}", "write a list of strings, with one at least"
            return
    choices, text = row.get("choices"), row.get("text")
    if choices and isinstance(text, str) and text not in choices:
        yield (
            f"the answer {text!r} is none of its 'choices': {', '.join(choices)}",
            "spell it as it is spelt there, or add it",
        )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _id_faults(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "id" not in row:
        yield "no 'id'", "give each example an id of its own"
    elif not isinstance(row["id"], str) or not row["id"]:
        yield f"'id' is {row['id']!r}", "wanted a string that is not empty, in quotes"
    elif CONTROL.search(row["id"]):
        yield f"'id' is {row['id']!r}, with control characters", "remove them"


def _text_faults(key: str, text: Any) -> Iterator[tuple[str, str]]:
    if isinstance(text, str) and (match := CONTROL.search(text)):
        yield (
            f"'{key}' has the control character U+{ord(match[0]):04X} at position {match.start()}",
            "remove it or write a space",
        )


def _time_faults(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Times and channel of a row's sound, and of the media of its messages."""
    for holder in (row, *_parts(row)):
        start, duration, channel = (holder.get(key) for key in ("start", "duration", "channel"))
        if start is not None and not (_is_number(start) and start >= 0):
            yield f"'start' is {start!r}", "wanted seconds, 0 or more"
        if duration is not None and not (_is_number(duration) and duration > 0):
            yield f"'duration' is {duration!r}", "wanted seconds, above 0"
        if channel is not None and not (type(channel) is int and channel >= 0):
            yield f"'channel' is {channel!r}", "wanted its number from 0, or none for their mean"
    if row.get("duration") is None and row.get("audio") is not None:
        yield "no 'duration'", "wanted seconds; `speechllm data prepare` reads it from the file"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def kind(row: dict[str, Any]) -> tuple:
    """What a task may ask differently or refuse: rows of one kind are asked alike.

    Task and languages, how many references of each name there are, and which media and answers.
    """
    named = (row.get("task"), row.get("lang"), row.get("translation_lang"))
    counts = (len(row[key]) if row.get(key) else 0 for key in ("texts", "translations", "heard"))
    return *named, *counts, *(row.get(key) is None for key in ANSWERS)


def parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The media of a row, as parts of messages: those of its messages, else its own sound."""
    if row.get("messages"):
        return [part for part in _parts(row) if part.get("type") in MEDIA]
    return [sound(row)] if row.get("audio") is not None else []


def seconds(row: dict[str, Any], home: str = "") -> float:
    """How long a row's media are: as it says, else what they cost together; 0 for text alone.

    home: the folder at which relative paths start.
    """
    if row.get("duration") is not None:
        return float(row["duration"])
    return sum(_cost(part, home) for part in parts(row))


def _cost(part: dict[str, Any], home: str) -> float:
    kind, path = part["type"], part.get(part["type"])
    if not media.reads(kind) or not isinstance(path, str):
        return 0.0
    return media.of(kind).cost(part | {kind: os.path.join(home, path)})


def map_paths(row: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A row whose audio and media paths went through `change`; the row given stays as it is."""
    if row.get("audio") is not None:
        row = row | {"audio": change(row["audio"])}
    row = _map_features(row, change)
    if row.get("messages") is not None:
        row = row | {"messages": [_map_message(message, change) for message in row["messages"]]}
    return row


def _map_message(message: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return message | {"content": [_map_part(part, change) for part in message["content"]]}


def _map_features(holder: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Of a reference to stored features, FOLDER#ID, the folder."""
    if not isinstance(holder.get("features"), str):
        return holder
    folder, mark, id = holder["features"].partition("#")
    return holder | {"features": change(folder) + mark + id}


def _map_part(part: Any, change: Callable[[str], str]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    part = _map_features(part, change) if kind else part
    return (
        part | {kind: change(part[kind])}
        if kind in MEDIA and isinstance(part.get(kind), str)
        else part
    )


def _parts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whatever parts the messages hold, of any type; what is no message or no list holds none."""
    messages = row.get("messages")
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict):
                yield part
