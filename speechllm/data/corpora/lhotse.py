"""Cuts of lhotse: JSON Lines (.jsonl, .jsonl.gz) of MonoCut or MultiCut with their supervisions.

`corpus` is such a file, or a folder of them: one manifest each, called as the file is. A row is a
supervision, from its start to its end inside the recording, as `trim_to_supervisions` cuts it; it
is called as its cut where that has one alone, else by its own id. A channel is kept where the file
has several. Relative paths start at `root`, by default the file's own folder.

Cuts that are mixed, padded, perturbed or have features alone are refused, one by one: write their
sound first (`cuts.save_audios`). Sources that are commands, addresses or bytes are never run or
fetched. Recordings and supervisions in files of their own become cuts by
`lhotse cut simple -r recordings.jsonl.gz -s supervisions.jsonl.gz cuts.jsonl.gz`.

    speechllm data prepare lhotse --corpus cuts_train.jsonl.gz --out data

https://lhotse.readthedocs.io/en/latest/cuts.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import (
    OVERSHOOT_S,
    Entry,
    Faults,
    finish,
    folder_of,
    manifests_in,
)
from speechllm.data.corpora._lines import json_lines, wanted

SUFFIXES = (".jsonl", ".jsonl.gz")
HARMLESS = {"Resample"}  # what is read is resampled anyway


@dataclass(frozen=True)
class Config:
    """Options: `root` is where relative paths start; `lang` where no supervision says it."""

    corpus: str
    out: str = "data/lhotse"
    root: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<file>.jsonl` for each; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        path = folder_of(self.corpus, "a .jsonl or .jsonl.gz file of cuts, or a folder of them")
        lists = manifests_in(path, SUFFIXES)
        entries = {name: list(self._entries(one, faults)) for name, one in lists.items()}
        return finish(self.out, entries, faults, apart=True)

    def _entries(self, path: Path, faults: Faults) -> Iterator[Entry]:
        root = Path(self.root).expanduser().absolute() if self.root else path.parent
        for where, cut in json_lines(path, faults):
            try:
                spoken = _spoken(cut)
            except (ValueError, OSError) as error:
                faults.add(where, str(error))
                continue
            for one in spoken:
                try:
                    yield Entry(self._row(cut, one, len(spoken) == 1, root), where)
                except ValueError as error:
                    faults.add(where, str(error))

    def _row(self, cut: dict, spoken: dict, alone: bool, root: Path) -> dict[str, Any]:
        id = wanted(cut, "id", str) if alone else wanted(spoken, "id", str)
        audio, channel = _heard(cut, spoken)
        text = wanted(spoken, "text", str)
        if id is None or text is None:
            raise ValueError(f"a supervision of {cut.get('id')} without {'text' if id else 'id'}")
        start, duration = _times(cut, spoken, id)
        row = {"id": id, "audio": str(root / Path(audio).expanduser()), "start": start}
        row |= {"duration": duration, "channel": channel, "text": text}
        row |= {"speaker": wanted(spoken, "speaker", str), "gender": spoken.get("gender")}
        row |= {"lang": wanted(spoken, "language", str) or self.lang or None}
        return {key: value for key, value in row.items() if value is not None}


def _spoken(cut: dict[str, Any]) -> list[dict[str, Any]]:
    """The supervisions of a cut. Raises ValueError where it is none, or not to be read."""
    if "sources" in cut or ("recording_id" in cut and "supervisions" not in cut):
        raise ValueError("a recording or a supervision alone; make cuts of both: lhotse cut simple")
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        raise ValueError(f"a {kind}; write its sound first (cuts.save_audios), or trim it")
    spoken = wanted(cut, "supervisions", list, [])
    if not spoken or not all(isinstance(one, dict) for one in spoken):
        raise ValueError(f"{cut.get('id')} has no supervisions; nobody says what is said in it")
    return spoken


def _times(cut: dict, spoken: dict, id: str) -> tuple[float, float]:
    """Start in the recording, and duration, of a supervision, whose start is that in its cut."""
    begin, length = wanted(cut, "start", float, 0.0), wanted(cut, "duration", float)
    start = wanted(spoken, "start", float, 0.0)
    duration = wanted(spoken, "duration", float)
    if length is None or duration is None:
        raise ValueError(f"{id}: a cut and its supervision want a 'duration'")
    if start < -OVERSHOOT_S or start + duration > length + OVERSHOOT_S:
        raise ValueError(
            f"{id} goes from {start} to {start + duration} s of a cut of {length} s; "
            "part of what is said is outside: trim it first"
        )
    return round(begin + max(start, 0.0), 6), round(min(duration, length - start), 6)


def _heard(cut: dict[str, Any], spoken: dict[str, Any]) -> tuple[str, int | None]:
    """The file of a cut, and which of its channels is meant, None where there is one alone."""
    recording = wanted(cut, "recording", dict)
    if recording is None:
        raise ValueError(f"{cut.get('id')} has no recording, features alone: sound is wanted")
    changes = [one for one in wanted(recording, "transforms", list, []) if _alters(one)]
    if changes:
        raise ValueError(f"{cut.get('id')} is perturbed; write its sound first (cuts.save_audios)")
    channel = spoken.get("channel", cut.get("channel", 0))
    channels = channel if isinstance(channel, list) else [channel]
    for source in wanted(recording, "sources", list, []):
        there = wanted(source, "channels", list, [0]) if isinstance(source, dict) else []
        if not all(one in there for one in channels):
            continue
        kind, place = source.get("type"), source.get("source")
        if kind != "file" or not isinstance(place, str):
            raise ValueError(f"{cut.get('id')}: a source of the type {kind!r}; wanted a file")
        if len(channels) > 1 and len(channels) < len(there):
            raise ValueError(f"{cut.get('id')}: some channels of many; wanted one, or all")
        return place, there.index(channels[0]) if len(there) > 1 and len(channels) == 1 else None
    raise ValueError(f"{cut.get('id')}: no source of its recording has the channel {channel}")


def _alters(change: Any) -> bool:
    return not (isinstance(change, dict) and change.get("name") in HARMLESS)
