"""Parquet files of a data set: where they lie, of which split each is, their labels' names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from speechllm import files, places

SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?$")


@dataclass(frozen=True)
class Place:
    """A folder, or one file, on this machine or behind an address (`hf://`, `s3://`, `https://`).

    fs: fsspec's file system. root: the folder, or the file.
    """

    fs: Any
    root: PurePosixPath

    @classmethod
    def of(cls, path: str, subset: str = "", revision: str = "") -> "Place":
        """Find a folder, a file, an address or a data set of the Hub, which is fetched.

        Raises:
            ValueError: there is none.
        """
        import fsspec

        if "://" in path:
            try:
                fs, root = fsspec.core.url_to_fs(path)
                fs.info(root)
            except Exception as error:  # each file system has errors of its own
                raise ValueError(f"{path}: cannot be opened: {_first_line(error)}") from None
        else:
            folder = places.find(path, "data set", "dataset") or _fetch(path, subset, revision)
            fs, root = fsspec.filesystem("file"), folder.absolute().as_posix()
        return cls(fs, PurePosixPath(root))

    @property
    def is_local(self) -> bool:
        """Whether files can be read where they are by whoever has their names."""
        return "file" in self.fs.protocol

    @property
    def folder(self) -> PurePosixPath:
        """Where paths in the rows start."""
        return self.root.parent if self.fs.isfile(str(self.root)) else self.root

    def shards(self, subset: str = "") -> dict[str, list[PurePosixPath]]:
        """The Parquet files of each split, in order.

        Raises:
            ValueError: there are none, or several configurations of which none was chosen.
        """
        if self.folder != self.root:
            return {_split(self.root): [self.root]}
        files = [PurePosixPath(name) for name in sorted(self.fs.find(str(self.root)))]
        files = [file for file in files if file.suffix == ".parquet"]
        if subset:
            files = [file for file in files if subset in file.relative_to(self.root).parts]
        splits: dict[str, list[PurePosixPath]] = {}
        for file in files:
            splits.setdefault(_split(file), []).append(file)
        if not splits:
            inside = f" of the subset {subset}" if subset else ""
            raise ValueError(f"{self.root}: no Parquet files{inside} (*.parquet) in it")
        for split, parts in splits.items():
            homes = {_home(part).relative_to(self.root).as_posix() for part in parts}
            if len(homes) > 1:
                names = ", ".join(sorted(homes))
                raise ValueError(f"{self.root}: {split} is in {names}; choose one with --subset")
        return splits

    def open(self, file: PurePosixPath):
        """Open a Parquet file; of one behind an address only what is asked for is read.

        Raises:
            ValueError: pyarrow is missing, or the file is cut.
        """
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise ValueError("Parquet needs pyarrow: pip install 'speechllm[hub]'") from error
        try:
            return pyarrow.parquet.ParquetFile(self.fs.open(str(file)))
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(file, error) from None

    def rows(self, file: PurePosixPath, columns: list[str], at_once: int) -> Iterator[dict]:
        """Read the rows of a file, `at_once` in memory at a time.

        Raises:
            ValueError: the file is damaged.
        """
        import pyarrow

        try:
            for batch in self.open(file).iter_batches(at_once, columns=columns):
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
            raise _damaged(file, error) from None


def _damaged(file: PurePosixPath, error: Exception) -> ValueError:
    told = " ".join(str(error).split())[:200]
    return ValueError(f"{file}: not a whole Parquet file ({told}); fetch it again")


def labels(schema, file: PurePosixPath) -> dict[str, list[str]]:
    """Names of class labels by column, from what the Hub's writer notes in the schema.

    Raises:
        ValueError: the note is damaged.
    """
    noted = (schema.metadata or {}).get(b"huggingface", b"{}")
    where = f"{file}: the note 'huggingface' of its schema"
    facts = files.expect(files.parse(noted, where), dict, where)
    for key in ("info", "features"):
        facts = files.expect(facts.get(key) or {}, dict, f"{where}: {key!r}")
    names_of = {}
    for name, about in facts.items():
        if isinstance(about, dict) and about.get("_type") == "ClassLabel" and about.get("names"):
            names = files.expect(about["names"], list, f"{where}: the names of {name!r}")
            names_of[name] = [files.expect(one, str, f"{where}: {name!r}") for one in names]
    return names_of


def _split(file: PurePosixPath) -> str:
    """`data/train-00000-of-00012.parquet` and `en/train/0000.parquet` are both of train."""
    return SHARD.sub("", file.stem) or file.parent.name


def _home(file: PurePosixPath) -> PurePosixPath:
    """The folder that holds a split: of `en/train/0000.parquet`, en."""
    return file.parent if SHARD.sub("", file.stem) else file.parent.parent


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


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
        raise ValueError(
            f"{id}: no such folder, and not to be had from the Hub: {_first_line(error)}; a data "
            "set without Parquet files of its own has them at --revision refs/convert/parquet"
        ) from None
