"""Reading `hyp.jsonl`, what the decoder wrote, one JSON object a line, and checking each line.

    {"id": "a-1", "hyp": "...", "ref": "...", "speaker": "a", "duration": 3.2, "stop": "eos", ...}

Only "id", "hyp" and "ref" are needed; "ref" may be a list of references, as many for each
utterance. A manifest (JSON Lines with "id" and "text") may be given: it then says which utterances
there must be, in which order, and supplies references that the hypotheses lack.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

SHOWN = 10  # so many ids are named in a message


@dataclass(frozen=True, slots=True)
class Utterance:
    """One decoded utterance as it was written; `missing` if the decoder never wrote it.

    refs: all references; `ref` is the first of them, None where there is none.
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

    @property
    def ref(self) -> str | None:
        """The reference, the first of several."""
        return self.refs[0] if self.refs else None


TEXT = ("text",)


def read(
    path: str | Path,
    manifest: str | Path | None = None,
    missing: str = "error",
    keys: tuple[str, ...] = TEXT,
    fields: tuple[str, str] = ("hyp", "ref"),
) -> list[Utterance]:
    """Read hypotheses, in the order of the manifest where one is given.

    Args:
        path: `hyp.jsonl`.
        manifest: the reference manifest, or None.
        missing: "error", or "delete": an utterance of the manifest without hypothesis then counts
            as an empty one.
        keys: of a manifest's row, the first that is there is the reference.
        fields: where hypothesis and reference stand in a line.

    Raises:
        ValueError: no file, no utterance, a bad line, a duplicate id, a reference that is nowhere,
            references of unequal number, ids that are not in the manifest or, unless `missing` is
            "delete", not in `path`.
    """
    if missing not in ("error", "delete"):
        raise ValueError(f"missing wants 'error' or 'delete', got {missing!r}")
    found = _unique(path, lambda row, where: _utterance(row, where, *fields))
    if manifest is not None:
        wanted = _unique(manifest, lambda row, where: _reference(row, where, keys))
        found = _join(path, found, manifest, wanted, missing)
    lost = [u.id for u in found.values() if u.ref is None]
    if lost:
        raise ValueError(
            f"{path}: no {fields[1]!r} for {some(lost)}; decode a manifest with text, or give the "
            "manifest"
        )
    if not found:
        raise ValueError(f"{path}: holds no utterance; was anything decoded?")
    _refuse_unequal(path, list(found.values()))
    return list(found.values())


def _refuse_unequal(path, utterances: list[Utterance]) -> None:
    """A corpus score over some utterances with more chances than others cannot be compared."""
    most = max(len(u.refs) for u in utterances)
    fewer = [f"{u.id} ({len(u.refs)})" for u in utterances if len(u.refs) < most]
    if fewer:
        raise ValueError(
            f"{path}: wanted as many references for each utterance, but some have {most} and "
            f"these fewer: {some(fewer)}; give each {most}, or only the first of each"
        )


def _join(path, found: dict, manifest, wanted: dict, missing: str) -> dict[str, Utterance]:
    """Put the hypotheses in the manifest's order and fill in what they lack."""
    foreign = [name for name in found if name not in wanted]
    if foreign:
        raise ValueError(f"{path}: not in {manifest}: {some(foreign)}; is it the right manifest?")
    absent = [name for name in wanted if name not in found]
    if absent and missing == "error":
        raise ValueError(
            f"{path}: no hypothesis for {some(absent)} of {manifest}; resume the decoding, or ask "
            "for missing='delete' to count them as deletions"
        )
    joined = {}
    for name, reference in wanted.items():
        one = found.get(name, reference)
        joined[name] = one if one.refs else replace(one, refs=reference.refs)
    return joined


def _unique(path: str | Path, make) -> dict[str, Utterance]:
    """Read all lines; an id may occur once."""
    found: dict[str, Utterance] = {}
    first: dict[str, int] = {}
    twice = []
    for number, row in _lines(path):
        one = make(row, f"{path}:{number}")
        if one.id in found:
            twice.append(f"{one.id} (lines {first[one.id]} and {number})")
        found[one.id] = one
        first.setdefault(one.id, number)
    if twice:
        raise ValueError(
            f"{path}: duplicate ids: {some(twice)}; each utterance may be there once, remove one"
        )
    return found


def _lines(path: str | Path) -> Iterator[tuple[int, dict]]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            cut = "" if data.endswith(b"\n") or number <= data.count(b"\n") else "; cut off? "
            hint = "resume the decoding" if cut else "; remove the line or decode again"
            raise ValueError(f"{path}:{number}: not JSON: {error}{cut}{hint}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number}: wanted an object {{...}}, got {line[:40]!r}")
        yield number, row


def _utterance(row: dict, where: str, hyp: str = "hyp", ref: str = "ref") -> Utterance:
    duration = row.get("duration")
    if duration is not None and (
        isinstance(duration, bool) or not isinstance(duration, int | float)
    ):
        raise ValueError(f"{where}: 'duration' wants seconds, got {duration!r}")
    texts = {key: _text(row, key, where) for key in ("speaker", "task", "stop", "source", "kind")}
    return Utterance(
        _id(row, where), _texts(row, ref, where), _needed(row, hyp, where),
        duration=duration, choices=_texts(row, "choices", where), **texts,
    )  # fmt: skip


def _reference(row: dict, where: str, keys: tuple[str, ...]) -> Utterance:
    speaker, duration = _text(row, "speaker", where), row.get("duration")
    key = next((key for key in keys if row.get(key) is not None), keys[-1])
    refs = _texts(row, key, where)
    return Utterance(_id(row, where), refs, "", speaker, duration=duration, missing=True)


def _texts(row: dict, key: str, where: str) -> tuple[str, ...]:
    """Return one text or several; none where there is none."""
    value = row.get(key)
    if not isinstance(value, list):
        return () if value is None else (_needed(row, key, where),)
    if not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: {key!r} wants a text or a list of texts, got {value!r}")
    return tuple(value)


def _id(row: dict, where: str) -> str:
    name = row.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    return _needed(row, "id", where)


def _needed(row: dict, key: str, where: str) -> str:
    if key not in row:
        raise ValueError(f"{where}: has no {key!r}; it has {', '.join(row) or 'nothing'}")
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} wants text, got {value!r}")
    return value


def _text(row: dict, key: str, where: str) -> str:
    """Return an optional text, "" where it is absent or null; a speaker's number as its figures."""
    value = row.get(key)
    if value is None:
        return ""
    if key == "speaker" and isinstance(value, int):
        return str(value)
    return _needed(row, key, where)


def some(names: list[str]) -> str:
    """Name the first few of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"
