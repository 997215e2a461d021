"""One row of a manifest, which `faults.py` checked: its kind, its length, where its media lie."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from features.stored import split
from speechllm import media
from speechllm.tasks.asr import sound

CONTENT = ("audio", "text", "messages")
ANSWERS = (*CONTENT, "translation", "transcript", "chosen", "rejected", "question")
MEDIA = media.KINDS  # what a medium can be


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
        return [part for part in parts_of(row) if part.get("type") in MEDIA]
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


def map_parts(row: dict[str, Any], change: Callable[[dict], dict], kind: str = "audio") -> dict:
    """A row whose media of a kind, as parts of messages, went through `change`, in order.

    What a row says of its own sound (`audio`, `start`, ...) goes the same way.
    """
    if row.get("messages"):
        return row | {"messages": [_map_content(m, change, kind) for m in row["messages"]]}
    if kind != "audio" or row.get("audio") is None:
        return row
    before = sound(row)
    after = change(before)
    kept = {key: value for key, value in row.items() if key not in before or key == "type"}
    return kept | {key: value for key, value in after.items() if key != "type"}


def _map_content(message: dict, change: Callable[[dict], dict], kind: str) -> dict:
    if not isinstance(message.get("content"), list):
        return message
    parts = message["content"]
    return message | {"content": [change(p) if p.get("type") == kind else p for p in parts]}


def _map_message(message: Any, change: Callable[[str], str]) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return message | {"content": [_map_part(part, change) for part in message["content"]]}


def _map_features(holder: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Of a reference to stored features, FOLDER#ID, the folder."""
    if not isinstance(holder.get("features"), str):
        return holder
    reference = holder["features"]  # a folder's own '#' can be told where it stands whole
    folder, id = split(reference) if os.path.isabs(reference) else reference.split("#", 1)
    return holder | {"features": f"{change(folder)}#{id}"}


def _map_part(part: Any, change: Callable[[str], str]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    part = _map_features(part, change) if kind else part
    return (
        part | {kind: change(part[kind])}
        if kind in MEDIA and isinstance(part.get(kind), str)
        else part
    )


def parts_of(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whatever parts the messages hold, of any type; what is no message or no list holds none."""
    messages = row.get("messages")
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict):
                yield part


def texts_of(row: dict[str, Any]) -> list[str]:
    """Give all that an LLM reads or says of a row: its texts, what was heard, its messages'."""
    texts = [row.get(key) for key in ("question", "text", "translation")]
    if not row.get("messages"):
        return [text for text in (*texts, *(row.get("heard") or ())) if text]
    contents = [message.get("content") for message in row["messages"]]
    parts = [part.get("text") for part in parts_of(row) if part.get("type") == "text"]
    return [text for text in (*contents, *parts) if isinstance(text, str) and text]
