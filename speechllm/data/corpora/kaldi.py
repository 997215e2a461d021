"""A Kaldi data directory: wav.scp, text, and optionally segments, utt2spk, utt2dur.

`corpus` is one directory, or a folder of them (data/ with train/, dev/, ...): one manifest each.
Relative paths in wav.scp start at `root`, by default at the directory itself. Commands in wav.scp
("sph2pipe ... |") are refused, since reading data must never run programs; so are archives
("foo.ark:12"). Start and end of segments are in seconds, an end of -1 is that of the recording; a
fifth field is the channel that is heard, from 0 (or A, B), as of both sides of a telephone call.

    speechllm data prepare kaldi --corpus data/train --root . --out data/manifests

https://kaldi-asr.org/doc/data_prep.html
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._lines import read_lines

CHANNELS = {str(number): number for number in range(1024)} | {"A": 0, "B": 1}


@dataclass(frozen=True)
class Config:
    """Options: `root` is where relative paths start, `lang` goes into each row."""

    corpus: str
    out: str = "data/kaldi"
    root: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<directory>.jsonl` for each; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        folder = folder_of(self.corpus, "a directory with wav.scp, or a folder of such")
        folders = [folder] if (folder / "wav.scp").exists() else sorted(folder.glob("*/"))
        folders = [one for one in folders if (one / "wav.scp").exists()]
        if not folders:
            raise ValueError(f"{folder}: neither wav.scp nor a directory with one in it")
        return finish(self.out, {one.name: self._entries(one, faults) for one in folders}, faults)

    def _entries(self, folder: Path, faults: Faults) -> list[Entry]:
        root = Path(self.root).expanduser().absolute() if self.root else folder
        audio = _audio(folder / "wav.scp", root, faults)
        tables = {name: _table(folder / name, faults) for name in ("text", "utt2spk", "utt2dur")}
        if (folder / "segments").exists():
            spans = _segments(folder / "segments", audio, faults)
        else:
            spans = {id: ({"audio": path}, where) for id, (path, where) in audio.items()}
        entries = []
        for id, (span, where) in spans.items():
            row = {"id": id} | span
            if tables["text"] and id not in tables["text"]:
                faults.add(where, f"{id} has no line in {folder / 'text'}; add or remove it")
                continue
            entries.append(Entry(self._row(row, tables), where))
        for id, (_, where) in (tables["text"] or {}).items():
            if id not in spans:
                faults.add(where, f"{id} has no audio in wav.scp or segments; add or remove it")
        return entries

    def _row(self, row: dict[str, Any], tables: dict[str, dict[str, tuple[str, str]]]) -> dict:
        id = row["id"]
        for key, name in (("text", "text"), ("speaker", "utt2spk")):
            if id in tables[name]:
                row[key] = tables[name][id][0]
        if id in tables["utt2dur"] and "start" not in row:
            row["duration"] = _number(tables["utt2dur"][id][0])
        return row | ({"lang": self.lang} if self.lang else {})


def _table(path: Path, faults: Faults) -> dict[str, tuple[str, str]]:
    """Key to (rest of the line, place); empty if there is no such file."""
    table: dict[str, tuple[str, str]] = {}
    for where, line in read_lines(path) if path.exists() else []:
        key, *rest = line.split(maxsplit=1)
        if key in table:
            faults.add(where, f"{key} stands at {table[key][1]} already; remove one of them")
        else:
            table[key] = (rest[0].strip() if rest else "", where)
    return table


def _audio(path: Path, root: Path, faults: Faults) -> dict[str, tuple[str, str]]:
    """Recording to (absolute path, place)."""
    audio = {}
    for id, (target, where) in _table(path, faults).items():
        if fault := _refusal(target):
            faults.add(where, fault)
        else:
            audio[id] = (os.path.normpath(root / target), where)
    return audio


def _refusal(target: str) -> str | None:
    if not target:
        return "no path; wanted: <recording> <path>"
    if target.endswith("|") or target.startswith("|"):
        chosen = re.search(r"\bsph2pipe\b.*\s-c\s*([12])\b", target)
        of_channel = (
            f", and {int(chosen[1]) - 1} as the fifth field of the recording's lines in segments "
            f"(<utterance> <recording> 0 -1 {int(chosen[1]) - 1} where it is not cut)"
            if chosen
            else ""
        )
        return (
            f"a command ({target}), and commands in data are never run. FLAC, Ogg, WAV and SPHERE "
            f"are read as they are: write the file's own path{of_channel}. Else run it once, write "
            "its output to a file (wav-copy scp:wav.scp ..., ffmpeg) and write that path"
        )
    head, colon, offset = target.rpartition(":")
    if colon and head.endswith(".ark") and offset.isdigit():
        return f"an archive ({target}); unpack it with wav-copy and write the paths of the files"
    return None


def _segments(
    path: Path, audio: dict[str, tuple[str, str]], faults: Faults
) -> dict[str, tuple[dict[str, Any], str]]:
    """Utterance to (its part of a recording, place); those of refused recordings are left out."""
    spans = {}
    for id, (rest, where) in _table(path, faults).items():
        fields = rest.split()
        start, end = (_number(value) for value in fields[1:3]) if len(fields) >= 3 else (None, None)
        if start is None or end is None:
            faults.add(where, "wanted: <utterance> <recording> <start s> <end s> [<channel>]")
        elif len(fields) > 4 or (len(fields) == 4 and fields[3] not in CHANNELS):
            channel = " ".join(fields[3:])
            faults.add(
                where, f"{id} has {channel!r} behind its end; wanted a channel from 0, or none"
            )
        elif start < 0 or (end != -1 and end <= start):
            faults.add(where, f"{id} goes from {start} to {end} s; wanted 0 <= start < end")
        elif fields[0] not in audio:
            faults.add(where, f"{id} is cut from {fields[0]}, which wav.scp does not give")
        else:
            span = {"audio": audio[fields[0]][0], "start": start}
            if end != -1:
                span["duration"] = round(end - start, 6)
            if len(fields) == 4:
                span["channel"] = CHANNELS[fields[3]]
            spans[id] = (span, where)
    return spans


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
