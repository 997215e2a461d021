"""What is wrong with a row of a manifest by itself: kinds, ranges, characters, what is missing.

The one place that says so: the reader and the writer (`manifest.py`) stop at the first fault,
importers skip the row, the validator lists them all. What passes here needs no further check of
kinds: texts are texts that UTF-8 holds, numbers are finite, messages are messages.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from speechllm.data.rows import CONTENT, MEDIA, parts_of
from speechllm.files import shown

# Control characters, line separators and lone surrogates: no tokenizer wants them, and a newline
# or a tab breaks each line-based format that follows (.trn, TSV, logs).
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
SURROGATE = re.compile("[\ud800-\udfff]")
STRINGS = (
    "audio features text chosen rejected transcript speaker lang task translation translation_lang "
    "question"
).split()
LISTS = ("texts", "translations", "choices", "heard")
ROLES = ("system", "user", "assistant")
MAX_S = 1e7  # seconds, four months: more is a number of something else
MAX_CHANNEL = 1023  # libsndfile has no more
SHORT = 255  # bytes: no file system takes a longer name

Fault = tuple[str, str]  # what is wrong, what to do


def faults(row: Any) -> Iterator[Fault]:
    """Yield (what is wrong, what to do) for each fault of a row, each in one line."""
    if not isinstance(row, dict):
        yield f"wanted a JSON object, got {type(row).__name__}", 'write {"id": ..., "text": ...}'
        return
    yield from _id_faults(row)
    if not any(row.get(key) is not None for key in CONTENT):
        yield "no 'audio', 'text' or 'messages'", "an example needs one of them"
    for key in STRINGS:
        value = row.get(key)
        if value is not None and not isinstance(value, str):
            yield f"'{key}' is {shown(value)}", "write it as a string, in quotes"
    if isinstance(row.get("features"), str) and "#" not in row["features"]:
        yield f"'features' is {shown(row['features'])}", "write FOLDER#ID, or leave it out"
    for key in ("text", "translation"):
        yield from _text_faults(key, row.get(key))
    yield from _list_faults(row)
    yield from _message_faults(row.get("messages"))
    yield from _time_faults(row)
    yield from _character_faults(row)


def _id_faults(row: dict[str, Any]) -> Iterator[Fault]:
    if "id" not in row:
        yield "no 'id'", "give each example an id of its own"
    elif not isinstance(row["id"], str) or not row["id"]:
        yield f"'id' is {shown(row['id'])}", "wanted a string that is not empty, in quotes"
    elif CONTROL.search(row["id"]):
        yield f"'id' is {shown(row['id'])}, with control characters", "remove them"


def _text_faults(key: str, text: Any) -> Iterator[Fault]:
    if isinstance(text, str) and (match := CONTROL.search(text)):
        yield (
            f"'{key}' has the control character U+{ord(match[0]):04X} at position {match.start()}",
            "remove it or write a space",
        )


def _list_faults(row: dict[str, Any]) -> Iterator[Fault]:
    """Several references, choices, names of sounds; an answer is one of its choices."""
    for key in LISTS:
        value = row.get(key)
        if value is not None and not _are_texts(value):
            yield f"'{key}' is {shown(value)}", "write a list of strings, with one at least"
            return
    choices, text = row.get("choices"), row.get("text")
    if choices and isinstance(text, str) and text not in choices:
        known = " ".join(", ".join(choices).split())[:200]
        yield (
            f"the answer {shown(text)} is none of its 'choices': {known}",
            "spell it as it is spelt there, or add it",
        )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _message_faults(messages: Any) -> Iterator[Fault]:
    """What is no list of turns, each with a role and a text or a list of parts."""
    if messages is None:
        return
    if not isinstance(messages, list) or not messages:
        what = "is empty" if messages == [] else "is not a list"
        yield f"'messages' {what}", 'write [{"role": "user", "content": [...]}, ...]'
        return
    if all(isinstance(one, dict) and one.get("role") == "assistant" for one in messages):
        yield "'messages' has answers alone", "wanted a turn of the user or the system before"
    for number, message in enumerate(messages, start=1):
        where = f"message {number}"
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in ROLES:
            yield f"{where}: its 'role' is {shown(role)}", f"wanted {', '.join(ROLES)}"
        elif isinstance(content, list):
            for part in content:
                yield from _part_faults(part, where)
        elif not isinstance(content, str):
            yield f"{where}: its 'content' is {shown(content)}", "wanted a text or a list of parts"


def _part_faults(part: Any, where: str) -> Iterator[Fault]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", *MEDIA):
        hint = f'wanted {{"type": ...}} with text or one of {", ".join(MEDIA)}'
        yield f"{where}: a part is {shown(part if kind is None else kind)}", hint
    elif not isinstance(part.get(kind), str):
        yield f"{where}: '{kind}' is {shown(part.get(kind))}", "write it as a string, in quotes"
    for key in ("text", "features"):
        value = part.get(key) if isinstance(part, dict) and kind != key else None
        if value is not None and not isinstance(value, str):
            yield f"{where}: '{key}' is {shown(value)}", "write it as a string, in quotes"


def _time_faults(row: dict[str, Any]) -> Iterator[Fault]:
    """Times and channel of a row's sound, and of the media of its messages."""
    for holder in (row, *parts_of(row)):
        start, duration, channel = (holder.get(key) for key in ("start", "duration", "channel"))
        if start is not None and not (_is_number(start) and 0 <= start <= MAX_S):
            yield f"'start' is {shown(start)}", f"wanted seconds, 0 or more, at most {MAX_S:.0f}"
        if duration is not None and not (_is_number(duration) and 0 < duration <= MAX_S):
            yield f"'duration' is {shown(duration)}", f"wanted seconds, above 0, up to {MAX_S:.0f}"
        if channel is not None and not (type(channel) is int and 0 <= channel <= MAX_CHANNEL):
            yield f"'channel' is {shown(channel)}", "wanted its number from 0, or none for the mean"
    if row.get("duration") is None and row.get("audio") is not None:
        yield "no 'duration'", "wanted seconds; `speechllm data prepare` reads it from the file"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _character_faults(row: dict[str, Any]) -> Iterator[Fault]:
    """What no file and no tokenizer takes: half of a pair of surrogates; a NUL in a path."""
    # A stack, since a row may be as deep as its JSON was.
    todo: list[tuple[str, Any]] = []
    items: Iterable[tuple[str, Any]] = row.items()
    while True:
        for key, value in items:
            if isinstance(value, str):
                # Nearly all are short and plain, which is seen in no time.
                if len(value) > SHORT or not value.isascii() or "\0" in value:
                    yield from _string_faults(key, value)
            elif isinstance(value, dict | list):
                todo.append((key, value))
        if not todo:
            return
        key, inner = todo.pop()
        items = inner.items() if isinstance(inner, dict) else [(key, one) for one in inner]


def _string_faults(key: str, value: str) -> Iterator[Fault]:
    if SURROGATE.search(value) and key not in ("id", "text", "translation"):
        yield f"{shown(key)} has half a character, U+D800 to U+DFFF", "remove it"
    if key in ("features", *MEDIA) and not _is_path(value):
        yield f"'{key}' is {shown(value)}", "no file can be called so"


def _is_path(text: str) -> bool:
    """Whether a file may be called so: without NUL, no name longer than a file system takes."""
    names = text.encode(errors="surrogatepass").split(b"/")
    return "\0" not in text and max(map(len, names)) <= SHORT and len(text) < 4000
