"""Reading `hyp.jsonl`, what the decoder wrote, and holding it against its manifest.

    {"id": "a-1", "hyp": "...", "ref": "...", "lang": "en", "speaker": "a", "duration": 3.2, ...}

Only "id", "hyp" and "ref" are needed; "ref" may be a list of references, as many for each
utterance. A manifest (JSON Lines with "id" and "text") says which utterances there must be, in
which order, and supplies what the hypotheses lack: references, languages, speakers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from speechllm import files
from speechllm.score.formats import lines
from speechllm.score.formats.lines import Utterance

SHOWN = 10  # so many ids are named in a message
MISSING = ("error", "delete", "leave")


@dataclass(frozen=True)
class Hypotheses:
    """What was read: `utterances`, and of how many `rows` of which manifest (None: not known).

    foreign: ids that the manifest does not have, which are scored all the same.
    """

    utterances: list[Utterance]
    rows: int | None = None
    manifest: Path | None = None
    foreign: tuple[str, ...] = ()

    @property
    def decoded(self) -> int:
        """Rows of the manifest that were decoded."""
        return sum(not one.missing for one in self.utterances) - len(self.foreign)

    @property
    def incomplete(self) -> bool:
        """Whether rows of the manifest are left out of what is scored."""
        return self.rows is not None and self.rows > len(self.utterances) - len(self.foreign)

    def shown(self) -> str:
        """How much of what was to be decoded is there: "5 of 7 rows of test.jsonl"."""
        if self.rows is None:
            return f"{len(self.utterances)} utterances; no manifest says how many there must be"
        return f"{self.decoded} of {self.rows} rows of {self.manifest.name}"

    def counts(self) -> dict[str, int]:
        """Rows of the manifest and how many of them are there; nothing where it is not known."""
        return {} if self.rows is None else {"rows": self.rows, "decoded": self.decoded}

    def warnings(self) -> tuple[str, ...]:
        """Say where hypotheses and manifest do not belong together."""
        said = []
        if self.incomplete:
            said.append(
                f"INCOMPLETE: {self.shown()} are there, the others are not counted; resume the "
                "decoding, or --missing delete"
            )
        if self.foreign:
            said.append(f"not in {self.manifest.name}, but counted: {some(list(self.foreign))}")
        return tuple(said)


def read(
    path: str | Path,
    manifest: str | Path | None = None,
    missing: str = "error",
    keys: tuple[str, ...] = ("text",),
    fields: tuple[str, str] = ("hyp", "ref"),
    lang: str = "",
) -> Hypotheses:
    """Read hypotheses, in the order of the manifest where one is known.

    Args:
        path: `hyp.jsonl`.
        manifest: the reference manifest; None: the one that the decoder wrote down in
            `decode.json`, if it is still there; then absent and foreign ids are only counted.
        missing: what to do with rows of `manifest` that have no hypothesis: "error"; "delete",
            count them as empty ones; "leave", count what is there.
        keys: of a manifest's row, the first that is there is the reference.
        fields: where hypothesis and reference stand in a line.
        lang: language of the rows that do not say theirs.

    Raises:
        ValueError: no file, no utterance, a bad line, a duplicate id, a reference that is nowhere,
            references of unequal number, ids that are not in `manifest` or, if `missing` is
            "error", not in `path`.
    """
    if missing not in MISSING:
        raise ValueError(f"missing wants {', '.join(MISSING)}; got {missing!r}")
    there = _unique(path, lambda row, where: lines.utterance(row, where, *fields), lines.CUT)
    recorded, n_rows = recorded_manifest(path)
    named = Path(manifest) if manifest is not None else recorded
    result = Hypotheses(list(there.values()), n_rows, named)
    if named is not None and (manifest is not None or named.is_file()):
        rows = _unique(named, lambda row, where: lines.reference(row, where, keys), "mend it")
        if manifest is not None:
            _refuse(path, there, named, rows, missing)
        result = _join(there, named, rows, fill=missing == "delete")
    _refuse_lost(path, result.utterances, fields[1])
    return replace(result, utterances=[one.spoken(lang) for one in result.utterances])


def recorded_manifest(path: str | Path) -> tuple[Path | None, int | None]:
    """Return the manifest that `decode.json` beside `path` names, and its number of rows."""
    record = Path(path).parent / "decode.json"
    facts = files.read_json(record) if record.is_file() else {}
    name, n_rows = facts.get("manifest"), facts.get("n_rows")
    known = isinstance(n_rows, int) and isinstance(name, str)
    return (Path(name) if isinstance(name, str) else None), (n_rows if known else None)


def _refuse(path, there: dict, manifest: Path, rows: dict, missing: str) -> None:
    """Refuse hypotheses that are not those of a manifest."""
    if foreign := [name for name in there if name not in rows]:
        raise ValueError(f"{path}: not in {manifest}: {some(foreign)}; is it the right manifest?")
    absent = [name for name in rows if name not in there]
    if absent and missing == "error":
        raise ValueError(
            f"{path}: no hypothesis for {some(absent)} of {manifest}; resume the decoding, or "
            "count them as deletions (--missing delete) or leave them out (--missing leave)"
        )


def _join(there: dict, manifest: Path, rows: dict, fill: bool) -> Hypotheses:
    """Put the hypotheses in the manifest's order and fill in what they lack."""
    joined = []
    for name, row in rows.items():
        one = there.get(name)
        if one is not None:
            own = {key: getattr(one, key) or getattr(row, key) for key in ("refs", "lang")}
            duration = row.duration if one.duration is None else one.duration
            speaker = one.speaker or row.speaker
            joined.append(replace(one, **own, speaker=speaker, duration=duration))
        elif fill:
            joined.append(row)
    foreign = [one for name, one in there.items() if name not in rows]
    return Hypotheses(joined + foreign, len(rows), manifest, tuple(one.id for one in foreign))


def _refuse_lost(path, utterances: list[Utterance], ref: str) -> None:
    """Refuse what cannot be scored, or cannot be compared with other scores."""
    if lost := [u.id for u in utterances if u.ref is None]:
        raise ValueError(
            f"{path}: no {ref!r} for {some(lost)}; decode a manifest with text, or give the "
            "manifest"
        )
    if not utterances:
        raise ValueError(f"{path}: holds no utterance; was anything decoded?")
    # A corpus score over some utterances with more chances than others cannot be compared.
    most = max(len(u.refs) for u in utterances)
    if fewer := [f"{u.id} ({len(u.refs)})" for u in utterances if len(u.refs) < most]:
        raise ValueError(
            f"{path}: wanted as many references for each utterance, but some have {most} and "
            f"these fewer: {some(fewer)}; give each {most}, or only the first of each"
        )


def _unique(
    path: str | Path, make: Callable[[dict, str], Utterance], hint: str
) -> dict[str, Utterance]:
    """Read all lines; an id may occur once; `hint` says what to do about one that is damaged."""
    there: dict[str, Utterance] = {}
    first: dict[str, int] = {}
    twice = []
    for number, row in lines.rows(path, hint):
        one = make(row, f"{path}:{number}")
        if one.id in there:
            twice.append(f"{one.id} (lines {first[one.id]} and {number})")
        there[one.id] = one
        first.setdefault(one.id, number)
    if twice:
        raise ValueError(
            f"{path}: duplicate ids: {some(twice)}; each utterance may be there once, remove one"
        )
    return there


def some(names: list[str]) -> str:
    """Name the first few of many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}"
