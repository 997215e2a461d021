"""A data set of the Hugging Face Hub: Parquet files, from a local folder or by their Hub id.

    speechllm data prepare hub --path FOLDER --out data/x
    speechllm data prepare hub --path USER/SET --subset en --out data/x
    speechllm data prepare hub --path hf://datasets/USER/SET --splits train --limit 1000
    speechllm data prepare hub --path FOLDER --lang en --keep translation=german \
        --translation-lang de --task translate
    speechllm data prepare hub --path FOLDER --text-column answer --keep question choices --task qa

Audio stands in the files as bytes, as the Hub keeps it, or is named by a path below the folder.
Bytes are unpacked, as they are, to OUT/audio/<split>/, so that everything that reads a manifest
reads them; a second call leaves what is there. Splits are those of the files' names
(`train-00000-of-00012.parquet`, `train/0000.parquet`); rows are read some at a time, so that memory
does not grow with the data set. Of an address (hf://, s3://, https://) no file is fetched whole:
it is read as far as it is needed. Numbers of a class label become its names, names of languages
their codes. Columns are found by their usual names (audio, file; text, sentence, transcription; id;
speaker_id, client_id; locale, language), else by what the options say. An id that comes again with
another sound (in FLEURS it names the sentence) gets a number: 903, 903-2. Needs pyarrow
(`pip install 'speechllm[hub]'`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import features
from speechllm import config, files
from speechllm.data import manifest
from speechllm.data.corpora._build import Faults
from speechllm.data.corpora._ids import Ids, file_name, language, report
from speechllm.data.corpora._parquet import Place, labels
from speechllm.data.corpora.tsv import NAMES
from speechllm.data.faults import faults
from speechllm.tasks import languages

SPLITS = ()  # as the files are called
# What files begin with, where their name does not say what they are.
MAGIC = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}")
AT_ONCE = 64  # rows read together


@dataclass(frozen=True)
class Config:
    """Options: columns by name where the usual ones do not fit.

    `path` is a folder, a .parquet file, an address or a Hub id; `subset` a folder of it, where it
    has several (its configurations); `keep` names columns to take over as they are, or under
    another name (NEW=COLUMN); `task`, `lang` and `translation_lang` are written into each row;
    `limit` takes the first rows of each split alone, 0 all; `revision` is of a Hub id.
    """

    path: str
    out: str = "data/hub"
    subset: str = ""
    splits: tuple[str, ...] = ()
    revision: str = ""
    audio_column: str = ""
    text_column: str = ""
    id_column: str = ""
    keep: tuple[str, ...] = ()
    task: str = ""
    lang: str = ""
    translation_lang: str = ""
    limit: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError, OSError."""
        self._check()
        place = Place.of(self.path, self.subset, self.revision)
        shards = place.shards(self.subset)
        if missing := [name for name in self.splits if name not in shards]:
            there = ", ".join(shards)
            raise ValueError(f"{self.path} has no split {', '.join(missing)}; it has {there}")
        manifests = {}
        for split in self.splits or tuple(shards):
            manifests[split] = Path(self.out).absolute() / f"{split}.jsonl"
            if not manifest.write(manifests[split], self._rows(split, shards[split], place)):
                raise ValueError(f"{self.path}: the split {split} has no usable row")
        return manifests

    def _check(self) -> None:
        """Refuse a task and languages that there are not. Raises ValueError."""
        if self.task and self.task not in (known := config.names("tasks")):
            raise ValueError(f"no task called {self.task!r}; {config.suggest(self.task, known)}")
        for code in filter(None, (self.lang, self.translation_lang)):
            languages.code(code)

    @property
    def _kept(self) -> dict[str, str]:
        """Names in the rows of the columns that `keep` takes over."""
        pairs = (word.split("=", 1) if "=" in word else (word, word) for word in self.keep)
        return {name: column for name, column in pairs}

    def _rows(self, split: str, files: list, place: Place) -> Iterator[dict[str, Any]]:
        """Make the rows of a split; at its end, what was wrong is raised or listed."""
        wrong, ids, unknown = Faults(self.on_error), Ids(), Counter()
        total = self.limit or sum(place.open(file).metadata.num_rows for file in files)
        with tqdm(total=total, desc=split, unit="row", disable=None) as bar:
            for number, (where, values, columns) in enumerate(self._values(files, place)):
                if self.limit and number >= self.limit:
                    break
                try:
                    row = self._row(values, columns, f"{split}-{number:09d}", unknown)
                    if "audio" in columns:
                        sound = _Sound.of(values[columns["audio"]], row["id"], place)
                        row["id"] = ids.of(row["id"], sound.content + row.get("text", "").encode())
                        folder = Path(self.out).absolute() / "audio" / split
                        row["audio"] = str(sound.unpacked(folder / file_name(row["id"])))
                        row["duration"] = round(features.info(row["audio"]).duration_s, 6)
                    else:
                        row["id"] = ids.of(row["id"], repr(row).encode())
                    if fault := next(faults(row), None):
                        raise ValueError("; ".join(fault))
                    yield row
                except (ValueError, OSError) as error:
                    wrong.add(where, str(error))
                bar.update()
        report(split, ids, unknown)
        wrong.settle(Path(self.out).absolute())

    def _values(self, files: list, place: Place) -> Iterator[tuple[str, dict, dict[str, str]]]:
        """(place, values by column, columns by meaning) of each row, a few in memory at a time."""
        for file in files:
            schema = place.open(file).schema_arrow
            columns, names = self._columns(schema.names, file), labels(schema, file)
            wanted = [*dict.fromkeys([*columns.values(), *self._kept.values()])]
            for number, values in enumerate(place.rows(file, wanted, AT_ONCE), start=1):
                named = {
                    name: _label(values[name], names[name]) for name in names.keys() & values.keys()
                }
                yield f"{file}, row {number}", values | named, columns

    def _columns(self, there: list[str], file) -> dict[str, str]:
        """Meaning to column; audio, text or both must be there."""
        lower = {name.lower(): name for name in there}
        named = {"audio": self.audio_column, "text": self.text_column, "id": self.id_column}
        columns = {}
        for key in ("audio", "text", "id", "speaker", "lang"):
            usual = (named[key].lower(),) if named.get(key) else NAMES[key]
            match = next((lower[name] for name in usual if name in lower), None)
            if match:
                columns[key] = match
            elif named.get(key):
                raise ValueError(f"{file} has no column {named[key]}; it has {', '.join(there)}")
        if not columns.keys() & {"audio", "text"}:
            raise ValueError(
                f"{file}: no column for audio or text among {', '.join(there)}; "
                "name them with --audio-column and --text-column"
            )
        if unknown := [name for name in self._kept.values() if name not in there]:
            raise ValueError(
                f"{file} has no column {', '.join(unknown)}; it has {', '.join(there)}"
            )
        return columns

    def _row(self, values: dict, columns: dict, id: str, unknown: Counter) -> dict[str, Any]:
        """Make a row but for its sound; languages that have no code are counted in `unknown`."""
        given = {
            key: _text(values.get(name), name) for key, name in columns.items() if key != "audio"
        }
        row = {"id": id if given.get("id") is None else given["id"]}
        if given.get("text") is not None:
            row["text"] = " ".join(given["text"].split())
        lang = given.get("lang") or self.lang
        more = {"speaker": given.get("speaker")}
        more |= {"lang": language(lang, unknown) if lang else None}
        more |= {"translation_lang": self.translation_lang or None, "task": self.task or None}
        more |= {name: _json(values[column], column) for name, column in self._kept.items()}
        return row | {key: value for key, value in more.items() if value is not None}


@dataclass(frozen=True)
class _Sound:
    """A row's sound: bytes to be unpacked, or the file that its path names."""

    data: bytes
    path: str

    @classmethod
    def of(cls, value: Any, id: str, place: Place) -> "_Sound":
        """Take what a row has in its column. Raises ValueError where it is no sound."""
        value = {"path": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
            raise ValueError(f"{id}: no audio: wanted bytes or a path, got {type(value).__name__}")
        data, named = value.get("bytes") or b"", value.get("path") or ""
        if not isinstance(data, bytes) or not isinstance(named, str):
            raise ValueError(f"{id}: audio of {type(data).__name__} and {type(named).__name__}")
        if not data and place.is_local:
            return cls(b"", str(Path(place.folder / named)))
        return cls(data or place.fs.cat_file(str(place.folder / named)), named)

    @property
    def content(self) -> bytes:
        """What tells two recordings apart."""
        return self.data or self.path.encode(errors="surrogatepass")

    def unpacked(self, path: Path) -> Path:
        """Write the bytes as `path`, with the ending of their kind; what is there stays."""
        if not self.data:
            return Path(self.path)
        ending = Path(self.path).suffix
        path = path.with_name(
            path.name + (ending if ENDING.fullmatch(ending) else _suffix(self.data))
        )
        if not (path.is_file() and path.read_bytes() == self.data):
            with files.writing(path, binary=True) as file:
                file.write(self.data)
        return path


def _text(value: Any, column: str) -> str | None:
    """A text, or a number as one. Raises ValueError for lists, bytes and the like."""
    if value is not None and (not isinstance(value, str | int | float) or isinstance(value, bool)):
        raise ValueError(f"{column!r} is {files.shown(value)}; wanted a text")
    return None if value is None else str(value)


def _json(value: Any, column: str) -> Any:
    """What a manifest can hold. Raises ValueError for bytes, times, NaN and the like."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{column!r} cannot be kept: {error}") from None
    return value


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), "")


def _label(value: Any, names: list[str]) -> Any:
    """The name of a class label's number; -1 stands for none."""
    numbered = isinstance(value, int) and 0 <= value < len(names)
    return names[value] if numbered else value
