"""One row of a manifest: what is wrong with it, how long it is, where its media lie.

Used by the reader and writer (`manifest.py`), which stop at the first fault, and by the validator,
which lists them all.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

# Control characters, line separators and lone surrogates: no tokenizer wants them, and a newline
# or a tab breaks each line-based format that follows (.trn, TSV, logs).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTENT = ("audio", "text", "messages")
MEDIA = ("audio", "image", "pose", "video")
STRINGS = (
    "audio features text chosen rejected transcript speaker lang task translation translation_lang"
).split()


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
    yield from _time_faults(row)


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
    start, duration = row.get("start"), row.get("duration")
    if start is not None and not (_is_number(start) and start >= 0):
        yield f"'start' is {start!r}", "wanted seconds, 0 or more"
    if duration is None:
        if row.get("audio") is not None:
            yield "no 'duration'", "wanted seconds; `speechllm data prepare` reads it from the file"
    elif not (_is_number(duration) and duration > 0):
        yield f"'duration' is {duration!r}", "wanted seconds, above 0"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seconds(row: dict[str, Any]) -> float:
    """Duration of a row; of `messages` without one, the sum of their parts'; 0 for text alone."""
    if row.get("duration") is not None:
        return float(row["duration"])
    return float(sum(part["duration"] for part in _parts(row) if _is_number(part.get("duration"))))


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
    for message in row.get("messages") or []:
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in content or [] if isinstance(part, dict))
