"""A table of files and texts: TSV or CSV with a line of column names, Common Voice too.

`corpus` is a table, or a folder of them: one manifest each, called as the table is. Columns are
found by their usual names, or named by an option:

    audio    audio, path, file, file_name, filename, wav, audio_filepath
    text     text, sentence, transcript, transcription
    id, speaker (client_id), lang (locale, language), start, duration, end, channel  (each optional)

`channel` is the number of the one that is heard, from 0, of a file that has several; without it
their mean is heard. Ids that are not given are made of the files' names; one that comes again with
another recording gets a number (903, 903-2). Audio is looked for beside the table and in its
clips/, wavs/ and audio/, or in `audio_dir`; a name without suffix may be that of an .mp3, .wav,
.flac, .ogg or .opus file.

    speechllm data prepare tsv --corpus cv-corpus/de --out data/cv_de
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._ids import Names
from speechllm.data.corpora._lines import records

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
    "channel": ("channel",),
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
    id_column: str = ""
    audio_dir: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<table>.jsonl` for each table; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
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
                splits[table.stem] = list(self._entries(table, faults))
            except ValueError as error:
                # A folder of Common Voice holds reports and other tables beside its splits.
                if table is tables[-1] and not splits:
                    raise
                _log.warning("left out, as it is no list of recordings: %s", error)
        return finish(self.out, splits, faults, apart=True)

    def _entries(self, table: Path, faults: Faults) -> Iterator[Entry]:
        (place, header), *rows = list(records(table, faults)) or [(f"{table}:1", [])]
        columns = self._columns(header, place)
        folder = Path(self.audio_dir).expanduser() if self.audio_dir else table.parent
        names = Names(values[columns["audio"]] for _, values in rows)
        for where, values in rows:
            fields = {key: values[column].strip() for key, column in columns.items()}
            try:
                yield Entry(self._row(fields, folder.absolute(), names), where)
            except (ValueError, OSError) as error:
                faults.add(where, str(error))

    def _columns(self, header: list[str], where: str) -> dict[str, int]:
        """Meaning to column number."""
        lower = [name.strip().lower() for name in header]
        named = {"audio": self.audio_column, "text": self.text_column}
        named |= {"id": self.id_column} if self.id_column else {}
        columns = {}
        for key, usual in NAMES.items():
            wanted = (named[key].lower(),) if named.get(key) else usual
            match = next((name for name in wanted if name in lower), None)
            if match is not None:
                columns[key] = lower.index(match)
            elif key in named:
                raise ValueError(
                    f"{where}: no column for {key}: wanted {' or '.join(wanted)}, got "
                    f"{', '.join(header)[:200] or 'nothing'}; name it with --{key}-column"
                )
        return columns

    def _row(self, fields: dict[str, str], folder: Path, names: Names) -> dict[str, Any]:
        audio = _locate(fields["audio"], folder)
        times = {key: _seconds(key, fields[key]) for key in TIMES if fields.get(key)}
        channel = _channel(fields.get("channel"))
        id = fields.get("id") or names.id(fields["audio"], times.get("start"), channel)
        if "end" in times:
            times.setdefault("duration", round(times["end"] - times.get("start", 0.0), 6))
        # Measured in all cases: a table's times are checked against the file.
        row = {"id": id, "audio": audio, "start": times.get("start", 0.0)}
        row |= {"duration": times.get("duration"), "channel": channel, "text": fields["text"]}
        row |= {"speaker": fields.get("speaker"), "lang": fields.get("lang") or self.lang}
        return {
            key: value for key, value in row.items() if key == "text" or value not in (None, "")
        }


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


def _seconds(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"{key} is {text!r}; wanted seconds") from error


def _channel(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"channel is {text!r}; wanted its number, 0 for the first one")
    return int(text)
