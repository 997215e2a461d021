"""A data set of the Hugging Face Hub: Parquet files, from a local folder or by their Hub id.

    speechllm data prepare hub --path FOLDER --out data/x
    speechllm data prepare hub --path USER/SET --subset en --out data/x
    speechllm data prepare hub --path FOLDER --text-column translation --task translate

Audio stands in the files as bytes, as the Hub keeps it, or is named by a path below the folder.
Bytes are unpacked, as they are, to OUT/audio/<split>/, so that everything that reads a manifest
reads them; a second call leaves what is there. Splits are those of the files' names
(`train-00000-of-00012.parquet`, `train/0000.parquet`); rows are read some at a time, so that memory
does not grow with the data set. Numbers of a class label become its names. Needs pyarrow
(`pip install 'speechllm[hub]'`).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import features
from speechllm.data import manifest
from speechllm.data.corpora._build import Faults
from speechllm.data.corpora.tsv import NAMES
from speechllm.data.rows import faults

SPLITS = ()  # as the files are called
SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?$")
# What files begin with, where their name does not say what they are.
MAGIC = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
AT_ONCE = 64  # rows read together


@dataclass(frozen=True)
class Config:
    """Options: columns by name where the usual ones do not fit.

    `path` is a folder, a .parquet file or a Hub id; `subset` a folder of it, where it has several
    (its configurations); `keep` names columns to take over as they are; `task` and `lang` are
    written into each row; `limit` takes the first rows of each split alone, 0 all.
    """

    path: str
    out: str = "data/hub"
    subset: str = ""
    splits: tuple[str, ...] = ()
    revision: str = ""
    audio_column: str = ""
    text_column: str = ""
    keep: tuple[str, ...] = ()
    task: str = ""
    lang: str = ""
    limit: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError, OSError."""
        folder = Path(self.path).expanduser()
        folder = folder if folder.exists() else _fetch(self.path, self.subset, self.revision)
        found = shards(folder, self.subset)
        if missing := [name for name in self.splits if name not in found]:
            there = ", ".join(found)
            raise ValueError(f"{folder} has no split {', '.join(missing)}; it has {there}")
        made = {}
        for split in self.splits or tuple(found):
            made[split] = Path(self.out).absolute() / f"{split}.jsonl"
            root = folder if folder.is_dir() else folder.parent
            if not manifest.write(made[split], self._rows(split, found[split], root)):
                raise ValueError(f"{folder}: the split {split} has no usable row")
        return made

    def _rows(self, split: str, files: list[Path], root: Path) -> Iterator[dict[str, Any]]:
        """Make the rows of a split; at its end, what was wrong is raised or listed."""
        wrong = Faults(self.on_error)
        total = self.limit or sum(_parquet(file).metadata.num_rows for file in files)
        with tqdm(total=total, desc=split, unit="row", disable=None) as bar:
            for number, (where, values, columns) in enumerate(self._values(files)):
                if self.limit and number >= self.limit:
                    break
                try:
                    row = self._row(values, columns, f"{split}-{number:09d}", split, root)
                    if fault := next(faults(row), None):
                        raise ValueError("; ".join(fault))
                    yield row
                except ValueError as error:
                    wrong.add(where, str(error))
                bar.update()
        wrong.settle(Path(self.out).absolute())

    def _values(self, files: list[Path]) -> Iterator[tuple[str, dict, dict[str, str]]]:
        """(place, values by column, columns by meaning) of each row, a few in memory at a time."""
        for file in files:
            parquet = _parquet(file)
            columns = self._columns(parquet.schema_arrow.names, file)
            labels = _labels(parquet.schema_arrow)
            number = 0
            wanted = [*dict.fromkeys([*columns.values(), *self.keep])]
            for batch in parquet.iter_batches(AT_ONCE, columns=wanted):
                for values in batch.to_pylist():
                    number += 1
                    for name in labels.keys() & values.keys():
                        if values[name] is not None and values[name] >= 0:
                            values[name] = labels[name][values[name]]
                    yield f"{file}, row {number}", values, columns

    def _columns(self, there: list[str], file: Path) -> dict[str, str]:
        """Meaning to column; audio, text or both must be there."""
        lower = {name.lower(): name for name in there}
        named = {"audio": self.audio_column, "text": self.text_column}
        found = {}
        for key in ("audio", "text", "id", "speaker", "lang"):
            usual = (named[key].lower(),) if named.get(key) else NAMES[key]
            match = next((lower[name] for name in usual if name in lower), None)
            if match:
                found[key] = match
            elif named.get(key):
                raise ValueError(f"{file} has no column {named[key]}; it has {', '.join(there)}")
        if not found.keys() & {"audio", "text"}:
            raise ValueError(
                f"{file}: no column for audio or text among {', '.join(there)}; "
                "name them with --audio-column and --text-column"
            )
        if unknown := [name for name in self.keep if name not in there]:
            raise ValueError(
                f"{file} has no column {', '.join(unknown)}; it has {', '.join(there)}"
            )
        return found

    def _row(self, values: dict, columns: dict, id: str, split: str, root: Path) -> dict[str, Any]:
        given = {key: values.get(name) for key, name in columns.items()}
        row = {"id": str(given["id"]) if given.get("id") is not None else id}
        if "audio" in columns:
            row["audio"] = str(self._audio(given["audio"], row["id"], split, root))
            row["duration"] = round(features.info(row["audio"]).duration_s, 6)
        if given.get("text") is not None:
            row["text"] = " ".join(str(given["text"]).split())
        speaker, lang = given.get("speaker"), given.get("lang") or self.lang
        more = {"speaker": None if speaker is None else str(speaker), "lang": lang or None}
        more |= {"task": self.task or None, **{name: values[name] for name in self.keep}}
        return row | {key: value for key, value in more.items() if value is not None}

    def _audio(self, value: Any, id: str, split: str, root: Path) -> Path:
        """The file of a row's audio: unpacked, or where its path says."""
        value = {"path": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
            raise ValueError(f"{id}: no audio: wanted bytes or a path, got {type(value).__name__}")
        data, named = value.get("bytes"), value.get("path") or ""
        if not data:
            return (root / named).absolute()
        suffix = Path(named).suffix or _suffix(data)
        folder = Path(self.out).absolute() / "audio" / split
        path = folder / (re.sub(r"[^\w.-]", "_", id).lstrip(".") + suffix)
        if not (path.is_file() and path.read_bytes() == data):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return path


def prepare(path: str, out: str, **options: Any) -> dict[str, Path]:
    """Write a manifest for each split; see Config. Returns them by split."""
    return Config(path=path, out=out, **options).prepare()


def shards(folder: Path, subset: str = "") -> dict[str, list[Path]]:
    """The Parquet files of each split, in order.

    Raises:
        ValueError: there are none, or several configurations of which none was chosen.
    """
    if folder.is_file():
        return {_split(folder): [folder]}
    files = sorted(folder.rglob("*.parquet"))
    if subset:
        files = [file for file in files if subset in file.relative_to(folder).parts]
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(_split(file), []).append(file)
    if not found:
        inside = f" of the subset {subset}" if subset else ""
        raise ValueError(f"{folder}: no Parquet files{inside} (*.parquet) in it")
    for split, parts in found.items():
        homes = {_home(part).relative_to(folder).as_posix() for part in parts}
        if len(homes) > 1:
            names = ", ".join(sorted(homes))
            raise ValueError(f"{folder}: {split} is in {names}; choose one with --subset")
    return found


def _split(file: Path) -> str:
    """`data/train-00000-of-00012.parquet` and `en/train/0000.parquet` are both of train."""
    return SHARD.sub("", file.stem) or file.parent.name


def _home(file: Path) -> Path:
    """The folder that holds a split: of `en/train/0000.parquet`, en."""
    return file.parent if SHARD.sub("", file.stem) else file.parent.parent


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in MAGIC.items() if data.startswith(magic)), "")


def _parquet(file: Path):
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError("Parquet needs pyarrow: pip install 'speechllm[hub]'") from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file}: not a whole Parquet file: {error}; fetch it again") from None


def _labels(schema) -> dict[str, list[str]]:
    """Names of class labels by column, from what the Hub's writer notes in the schema."""
    noted = (schema.metadata or {}).get(b"huggingface", b"{}")
    columns = json.loads(noted).get("info", {}).get("features", {})
    return {
        name: facts["names"]
        for name, facts in columns.items()
        if isinstance(facts, dict) and facts.get("_type") == "ClassLabel" and "names" in facts
    }


def _fetch(id: str, subset: str, revision: str) -> Path:
    """Download the Parquet files of a Hub data set; what is in the Hub's cache stays.

    Raises:
        ValueError: no such folder, and nothing of that name can be fetched.
    """
    from huggingface_hub import snapshot_download

    wanted = [f"{subset}/**.parquet", f"**/{subset}/**.parquet"] if subset else ["**.parquet"]
    options = {"revision": revision} if revision else {}
    try:
        return Path(snapshot_download(id, repo_type="dataset", allow_patterns=wanted, **options))
    except Exception as error:  # the client's errors are of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{id}: no such folder, and not to be had from the Hub: {reason}; a data set without "
            "Parquet files of its own has them at --revision refs/convert/parquet"
        ) from None
