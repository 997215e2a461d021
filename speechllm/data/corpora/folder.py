"""A folder of sound files, each with its text beside it: a.wav and a.txt (or a.lab).

`corpus` is searched through, linked folders too; written is one manifest, called as the folder is,
or with `splits` one of each of these subfolders. Texts may lie in a tree of their own, `text_dir`,
with the same subfolders. Ids are the files' paths below the folder, "/" as "-". With `speakers` the
name of the folder in which a file lies is its speaker.

    speechllm data prepare folder --corpus recordings --lang en --out data
    speechllm data prepare folder --corpus recordings --splits train dev test --out data
    speechllm data prepare folder --corpus VCTK/wav48 --text-dir VCTK/txt --speakers --out data
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.containers import FOREIGN
from features.sources import SUFFIXES
from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._ids import Names
from speechllm.data.corpora._lines import read_lines

SOUNDS = {*SUFFIXES, *FOREIGN}
TEXTS = (".txt", ".lab")


@dataclass(frozen=True)
class Config:
    """Options: subfolders that are splits, where the texts are, whose the recordings are."""

    corpus: str
    out: str = "data/folder"
    splits: tuple[str, ...] = ()
    text_dir: str = ""
    speakers: bool = False
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<folder>.jsonl`, or one for each split; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        folder = folder_of(self.corpus, "a folder of sound files")
        if not folder.is_dir():
            raise ValueError(f"{folder}: a file; wanted the folder of the sound files")
        texts = folder_of(self.text_dir or self.corpus, "the folder of the texts")
        if lost := [name for name in self.splits if not (folder / name).is_dir()]:
            there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
            raise ValueError(f"{folder}: no folder {', '.join(lost)} in it; there are {there}")
        names = self.splits or ("",)
        entries = {
            name or folder.name: list(self._entries(folder / name, texts / name, faults))
            for name in names
        }
        return finish(self.out, entries, faults, apart=True)

    def _entries(self, folder: Path, texts: Path, faults: Faults) -> Iterator[Entry]:
        files = _files(folder)
        sounds = [path for path in files if path.suffix.lower() in SOUNDS]
        if not sounds:
            raise ValueError(f"{folder}: no sound in it ({' '.join(sorted(SOUNDS))})")
        names, used = Names(_below(path, folder) for path in sounds), set()
        for path in sounds:
            below = _below(path, folder)
            stem = texts / os.path.splitext(below)[0]
            beside = [stem.with_name(stem.name + ending) for ending in TEXTS]
            text = next((one for one in beside if one.is_file()), None)
            if text is None:
                faults.add(str(path), f"no text for it; wanted {beside[0]}")
                continue
            used.add(text)
            try:
                said = " ".join(line.strip() for _, line in read_lines(text))
            except ValueError as error:
                faults.add(str(path), str(error))
                continue
            row = {"id": names.id(below), "audio": str(path), "text": said}
            row |= {"speaker": path.parent.name} if self.speakers else {}
            yield Entry(row | ({"lang": self.lang} if self.lang else {}), str(text))
        for path in _files(texts):
            if path.suffix.lower() in TEXTS and path not in used:
                faults.add(str(path), "a text without a sound; add it, or remove the text")


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _files(folder: Path) -> list[Path]:
    """All files below a folder in order; a linked folder is walked once, whatever it links to."""
    paths, seen = [], set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        paths += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(paths)
