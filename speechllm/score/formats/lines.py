"""One line of hypotheses or of a manifest, checked: an `Utterance`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm import files

HOLDS = 'a line of hypotheses holds {"id": ..., "hyp": ..., "ref": ...}'
CUT = "was it cut off? resume the decoding; otherwise remove the line or decode again"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One decoded utterance as it was written; `missing` if the decoder never wrote it.

    refs: all references; `ref` is the first of them, None where there is none.
    hotwords: words or phrases that were asked for. words: of `hyp`, with their confidences.
    """

    id: str
    refs: tuple[str, ...]
    hyp: str
    speaker: str = ""
    task: str = ""
    stop: str = ""
    duration: float | None = None
    missing: bool = False
    source: str = ""
    kind: str = ""
    choices: tuple[str, ...] = ()
    lang: str = ""
    hotwords: tuple[str, ...] = ()
    words: tuple[tuple[str, float], ...] = ()

    @property
    def ref(self) -> str | None:
        """The reference, the first of several."""
        return self.refs[0] if self.refs else None

    def spoken(self, lang: str) -> "Utterance":
        """Return it with this language, where it does not say its own."""
        return self if self.lang or not lang else replace(self, lang=lang)


def rows(path: str | Path, hint: str) -> Iterator[tuple[int, dict]]:
    """Yield (line number, row) of a file; `hint` is what to do about a damaged line.

    Raises:
        ValueError: it cannot be read, or a line is no JSON object.
    """
    try:
        yield from files.json_lines(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{error}; {hint}") from None


def utterance(row: dict, where: str, hyp: str, ref: str) -> Utterance:
    """Make the utterance of a line; `hyp` and `ref` are the keys of its texts.

    Raises:
        ValueError: something is missing or of the wrong kind; begins with `where`.
    """
    texts = {key: _text(row, key, where) for key in ("task", "stop", "source", "kind", "lang")}
    return Utterance(
        id=_id(row, where),
        refs=_texts(row, ref, where),
        hyp=_needed(row, hyp, where),
        speaker=_speaker(row, where),
        duration=_duration(row, where),
        choices=_texts(row, "choices", where),
        hotwords=_texts(row, "hotwords", where) if row.get("hotwords") else (),
        words=_words(row, where),
        **texts,
    )


def reference(row: dict, where: str, keys: tuple[str, ...]) -> Utterance:
    """Make the utterance of a manifest's row that was not decoded; `keys` as of `hypotheses.read`.

    Raises:
        ValueError: something is missing or of the wrong kind; begins with `where`.
    """
    key = next((key for key in keys if row.get(key) is not None), keys[-1])
    return Utterance(
        id=_id(row, where),
        refs=_texts(row, key, where),
        hyp="",
        speaker=_speaker(row, where),
        duration=_duration(row, where),
        lang=_text(row, "lang", where),
        missing=True,
    )


def _duration(row: dict, where: str) -> float | None:
    if row.get("duration") is None:
        return None
    return files.expect(row["duration"], float, f"{where}: 'duration' wants seconds", 0, 1e9)


def _words(row: dict, where: str) -> tuple[tuple[str, float], ...]:
    """Return the words of a line, or of its segments, that have a confidence."""
    parts = row["segments"] if "segments" in row and "words" not in row else [row]
    found = []
    for part in files.expect(parts, list, f"{where}: 'segments'"):
        part = files.expect(part, dict, f"{where}: 'segments'")
        for one in files.expect(part.get("words") or [], list, f"{where}: 'words'"):
            one = files.expect(one, dict, f"{where}: 'words'")
            if one.get("confidence") is not None:
                sure = files.expect(one["confidence"], float, f"{where}: 'confidence'", 0, 1)
                found.append((_needed(one, "word", where), float(sure)))
    return tuple(found)


def _texts(row: dict, key: str, where: str) -> tuple[str, ...]:
    """Return one text or several; none where there is none."""
    value = row.get(key)
    if not isinstance(value, list):
        return () if value is None else (_needed(row, key, where),)
    if not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: {key!r} wants a text or a list of texts, got {value!r:.60}")
    return tuple(_sound(text, key, where) for text in value)


def _id(row: dict, where: str) -> str:
    return _figures(row, "id") or _needed(row, "id", where)


def _speaker(row: dict, where: str) -> str:
    return _figures(row, "speaker") or _text(row, "speaker", where)


def _figures(row: dict, key: str) -> str:
    """Return a name that is a number as its figures, "" where it is none."""
    value = row.get(key)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _text(row: dict, key: str, where: str) -> str:
    """Return an optional text, "" where it is absent or null."""
    return "" if row.get(key) is None else _needed(row, key, where)


def _needed(row: dict, key: str, where: str) -> str:
    if key not in row:
        has = ", ".join(row) or "nothing"
        raise ValueError(f"{where}: has no {key!r}; it has {has:.100}; {HOLDS}")
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} wants text, got {value!r:.60}; {HOLDS}")
    return _sound(value, key, where)


def _sound(text: str, key: str, where: str) -> str:
    """Refuse half of a pair of surrogates, which JSON can hold and no file can."""
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where}: {key!r} has half a character (a lone surrogate)") from None
    return text
