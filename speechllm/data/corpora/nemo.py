"""Manifests of NeMo: JSON Lines with `audio_filepath`, `duration`, `text`, maybe `offset`.

`corpus` is such a file, or a folder of them (.json, .jsonl): one manifest each, called as the file
is. Audio is absolute, or relative to `root`, by default the file's own folder. Ids are made of the
files' names, with the start in milliseconds where a row is a part of a file. `lang`, `speaker` and
`channel` are taken over; of the rows of Canary `source_lang`, and where `target_lang` is another
language the text is a translation into it. Tarred sets have to be unpacked first.

    speechllm data prepare nemo --corpus train_manifest.json --out data

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of, manifests_in
from speechllm.data.corpora._ids import Names
from speechllm.data.corpora._lines import json_lines, wanted

AUDIO = "audio_filepath"
SUFFIXES = (".json", ".jsonl", ".jsonl.gz", ".json.gz")


@dataclass(frozen=True)
class Config:
    """Options: `root` is where relative paths start; `lang` where no row says it."""

    corpus: str
    out: str = "data/nemo"
    root: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<file>.jsonl` for each; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        path = folder_of(self.corpus, "a manifest of NeMo, or a folder of them")
        lists = manifests_in(path, SUFFIXES)
        entries = {name: list(self._entries(one, faults)) for name, one in lists.items()}
        return finish(self.out, entries, faults, apart=True)

    def _entries(self, path: Path, faults: Faults) -> Iterator[Entry]:
        root = Path(self.root).expanduser().absolute() if self.root else path.parent
        lines = list(json_lines(path, faults))
        names = Names(row[AUDIO] for _, row in lines if isinstance(row.get(AUDIO), str))
        for where, row in lines:
            try:
                yield Entry(self._row(row, root, names), where)
            except (ValueError, OSError) as error:
                faults.add(where, str(error))

    def _row(self, row: dict[str, Any], root: Path, names: Names) -> dict[str, Any]:
        audio = wanted(row, AUDIO, str, "")
        if not audio:
            raise ValueError(f"no {AUDIO!r}; is this a manifest of NeMo?")
        path = root / Path(audio).expanduser()
        if not path.is_file() and "shard_id" in row:
            raise ValueError(f"{audio} lies in a tar file; unpack audio_*.tar beside the manifest")
        offset, channel = wanted(row, "offset", float), wanted(row, "channel", int)
        fields = {"id": wanted(row, "id", str) or names.id(audio, offset, channel)}
        fields |= {"audio": str(path), "start": offset or 0.0}
        fields |= {"duration": wanted(row, "duration", float), "channel": channel}
        fields |= {"speaker": _text(row.get("speaker")), **_said(row, self.lang)}
        return {key: value for key, value in fields.items() if value is not None}


def _text(value: Any) -> str | None:
    """A speaker is a name or a number."""
    return None if value is None or value == "" else str(value)


def _said(row: dict[str, Any], lang: str) -> dict[str, Any]:
    """What is said, and in which language; of a row of translation, what it becomes."""
    text = wanted(row, "text", str) or wanted(row, "answer", str)
    source = wanted(row, "source_lang", str) or wanted(row, "lang", str) or lang or None
    target = wanted(row, "target_lang", str)
    if target and source and target != source:
        said = {"translation": text, "translation_lang": target}
        return {**said, "text": wanted(row, "transcript", str), "lang": source}
    if text is None:
        raise ValueError("no 'text' and no 'answer'; write what is said")
    return {"text": text, "lang": source}
