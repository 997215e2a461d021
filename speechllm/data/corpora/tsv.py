"""A table of files and texts: TSV or CSV with a line of column names, Common Voice too.

`corpus` is a table, or a folder of them: one manifest each, called as the table is. Columns are
found by their usual names, or named by an option:

    audio    audio, path, file, file_name, filename, wav, audio_filepath
    text     text, sentence, transcript, transcription
    id, speaker (client_id), lang (locale, language), start, duration, end    (each optional)

Audio is looked for beside the table and in its clips/, wavs/ and audio/, or in `audio_dir`; a
name without suffix may be that of an .mp3, .wav, .flac, .ogg or .opus file.

    speechllm data prepare tsv --corpus cv-corpus/de --out data/cv_de
"""

import csv
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of, read_lines

_log = logging.getLogger(__name__)
NAMES = {
    "audio": ("audio", "path", "file", "file_name", "filename", "wav", "audio_filepath"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "id": ("id", "utt_id", "utterance"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "lang": ("lang", "locale", "language"),
    "start": ("start", "offset", "start_s"),
    "duration": ("duration", "duration_s"),
    "end": ("end", "end_s"),
}
TIMES = ("start", "duration", "end")
FOLDERS = ("", "clips", "wavs", "audio")
SUFFIXES = ("", ".mp3", ".wav", ".flac", ".ogg", ".opus")


@dataclass(frozen=True)
class Config:
    """Options: columns by name where the usual ones do not fit; `lang` where no column says it."""

    corpus: str
    out: str = "data/tsv"
    audio_column: str = ""
    text_column: str = ""
    audio_dir: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<table>.jsonl` for each table; manifests by name. Raises ValueError."""
        found = Faults(self.on_error)
        path = folder_of(self.corpus, "a .tsv or .csv file, or a folder of them")
        tables = sorted([*path.glob("*.tsv"), *path.glob("*.csv")]) if path.is_dir() else [path]
        if not tables:
            raise ValueError(f"{path}: no .tsv or .csv in it")
        names = [table.stem for table in tables]
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: two tables of one name; give the one that is meant")
        splits = {}
        for table in tables:
            try:
                splits[table.stem] = list(self._entries(table, found))
            except ValueError as error:
                # A folder of Common Voice holds reports and other tables beside its splits.
                if table is tables[-1] and not splits:
                    raise
                _log.warning("left out, as it is no list of recordings: %s", error)
        return finish(self.out, splits, found)

    def _entries(self, table: Path, found: Faults) -> Iterator[Entry]:
        (place, header), *lines = list(_rows(table)) or [(str(table), [])]
        columns = self._columns(header, place)
        folder = Path(self.audio_dir).expanduser() if self.audio_dir else table.parent
        whole = (values for _, values in lines if len(values) == len(header))
        stems = Counter(_stem(name) for name in {values[columns["audio"]] for values in whole})
        for where, values in lines:
            if len(values) != len(header):
                found.add(where, f"{len(values)} columns, but the first line has {len(header)}")
                continue
            fields = {key: values[column].strip() for key, column in columns.items()}
            try:
                yield Entry(self._row(fields, folder.absolute(), stems), where)
            except ValueError as error:
                found.add(where, str(error))

    def _columns(self, header: list[str], where: str) -> dict[str, int]:
        """Meaning to column number."""
        lower = [name.strip().lower() for name in header]
        named = {"audio": self.audio_column, "text": self.text_column}
        columns = {}
        for key, usual in NAMES.items():
            wanted = (named[key].lower(),) if named.get(key) else usual
            match = next((name for name in wanted if name in lower), None)
            if match is not None:
                columns[key] = lower.index(match)
            elif key in named:
                raise ValueError(
                    f"{where}: no column for {key}: wanted {' or '.join(wanted)}, got "
                    f"{', '.join(header) or 'nothing'}; name it with --{key}-column"
                )
        return columns

    def _row(self, fields: dict[str, str], folder: Path, stems: Counter[str]) -> dict[str, Any]:
        audio = _locate(fields["audio"], folder)
        times = {key: _seconds(key, fields[key]) for key in TIMES if fields.get(key)}
        if "end" in times:
            times.setdefault("duration", round(times["end"] - times.get("start", 0.0), 6))
        # Measured in all cases: a table's times are checked against the file.
        row = {"id": fields.get("id") or _id(fields["audio"], times, stems), "audio": audio}
        row |= {"start": times.get("start", 0.0)}
        if "duration" in times:
            row["duration"] = times["duration"]
        row |= {"text": fields["text"], "speaker": fields.get("speaker")}
        row |= {"lang": fields.get("lang") or self.lang}
        return {
            key: value for key, value in row.items() if key == "text" or value not in (None, "")
        }


def _rows(table: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, values) of each line. Quotes of a CSV may hold newlines; those of a TSV may not."""
    if table.suffix == ".csv":
        first = read_lines(table)[:1]
        delimiter = max(",;\t", key=first[0][1].count) if first else ","
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            yield from ((f"{table}:{reader.line_num}", values) for values in reader if values)
    else:
        # Not by `csv`: a sentence of Common Voice may begin with a quote that never closes.
        for where, line in read_lines(table):
            yield where, [_unquote(value) for value in line.split("\t")]


def _unquote(value: str) -> str:
    inner = value[1:-1].replace('""', "")
    quoted = len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inner
    return value[1:-1].replace('""', '"') if quoted else value


def _locate(name: str, folder: Path) -> str:
    if not name:
        raise ValueError("no audio file is named")
    for below in FOLDERS:
        for suffix in SUFFIXES:
            path = folder / below / (name + suffix)
            if path.is_file():
                return str(path)
    raise ValueError(
        f"{name}: no such file in {folder} or its {', '.join(FOLDERS[1:])}; "
        "give the folder of the audio with --audio-dir"
    )


def _id(name: str, times: dict[str, float], stems: Counter[str]) -> str:
    """The name without suffix; with it, if another file shares it; with the start in a file."""
    stem = _stem(name)
    stem = stem if stems[stem] == 1 else name.strip("/").replace("/", "-")
    return f"{stem}-{round(times['start'] * 1000):08d}" if "start" in times else stem


def _stem(name: str) -> str:
    return os.path.splitext(name.strip())[0].strip("/").replace("/", "-")


def _seconds(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{key} is {text!r}; wanted seconds") from error
