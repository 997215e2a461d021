"""MuST-C: TED talks, cut by a YAML list of segments, with transcripts and translations by line.

    en-de/data/<split>/wav/ted_1.wav
    en-de/data/<split>/txt/<split>.yaml  - {duration: 3.5, offset: 16.1, wav: ted_1.wav, ...}
    en-de/data/<split>/txt/<split>.en    one line a segment
    en-de/data/<split>/txt/<split>.de

`corpus` is the folder of a pair ("en-de"), or one that holds it. Written is a manifest for each
split that is there (train, dev, tst-COMMON, tst-HE).

    speechllm data prepare must_c --corpus MUSTC --target de --out data/must_c

M. Di Gangi et al., MuST-C: a multilingual speech translation corpus, NAACL 2019.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.tasks import languages

SPLITS = ("train", "dev", "tst-COMMON", "tst-HE")
KEYS = ("wav", "offset", "duration")


@dataclass(frozen=True)
class Config:
    """Options: languages as in the folder's name, splits (all that are there if not given)."""

    corpus: str
    target: str
    source: str = "en"
    out: str = "data/must_c"
    splits: tuple[str, ...] = ()
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError."""
        if languages.code(self.source) == languages.code(self.target):
            raise ValueError(f"source and target are one language, {self.source!r}")
        data = self._folder()
        faults = Faults(self.on_error)
        splits = {name: self._entries(data / name, faults) for name in self._splits(data)}
        return finish(self.out, splits, faults)

    def _folder(self) -> Path:
        """Find the data/ of the pair."""
        folder, pair = folder_of(self.corpus, "the folder en-de, or one with it"), self.pair
        for place in (folder, folder / pair):
            if place.name == pair and (place / "data").is_dir():
                return place / "data"
        turned = f"{self.target}-{self.source}"
        swapped = folder.name == turned or (folder / turned).is_dir()
        hint = "source and target are swapped" if swapped else "is it unpacked there?"
        raise ValueError(f"{folder}: no {pair}/data in it; {hint}")

    @property
    def pair(self) -> str:
        """Name of the folder: "en-de"."""
        return f"{self.source}-{self.target}"

    def _splits(self, data: Path) -> list[str]:
        there = sorted(path.parents[1].name for path in data.glob("*/txt/*.yaml"))
        if missing := [name for name in self.splits if name not in there]:
            raise ValueError(
                f"{data}: no {', '.join(missing)}; it has {', '.join(there) or 'none'}"
            )
        if not there:
            raise ValueError(f"{data}: no <split>/txt/<split>.yaml in it")
        return list(self.splits) or there

    def _entries(self, split: Path, faults: Faults) -> list[Entry]:
        """The segments of one split, with the lines of both languages.

        Raises:
            ValueError: as many segments as lines are wanted; text belongs to audio by its place.
        """
        base = split / "txt" / split.name
        segments = _segments(base.with_name(base.name + ".yaml"))
        texts = {
            side: _lines(base.with_name(f"{base.name}.{side}")) for side in self.pair.split("-")
        }
        numbers = {len(segments), *map(len, texts.values())}
        if len(numbers) > 1:
            counts = ", ".join(f"{len(lines)} lines of {side}" for side, lines in texts.items())
            raise ValueError(f"{base}.*: {len(segments)} segments, but {counts}; unpack them again")
        seen, entries = Counter(), []
        rows = zip(segments, texts[self.source], texts[self.target], strict=True)
        for number, (segment, text, translation) in enumerate(rows, start=1):
            where = f"{base}.yaml, segment {number}"
            if fault := _fault(segment, text, translation):
                faults.add(where, fault)
                continue
            seen[segment["wav"]] += 1
            id = f"{Path(segment['wav']).stem}_{seen[segment['wav']] - 1:04d}"
            entries.append(Entry(self._row(id, split, segment, text, translation), where))
        return entries

    def _row(self, id: str, split: Path, segment: dict, text: str, translation: str) -> dict:
        row = {"id": id, "audio": str(split / "wav" / segment["wav"])}
        row |= {"start": float(segment["offset"]), "duration": float(segment["duration"])}
        row |= {"text": text, "speaker": str(segment.get("speaker_id", "")), "lang": self.source}
        return row | {"translation": translation, "translation_lang": self.target}


def _segments(path: Path) -> list[Any]:
    """Read the list of segments.

    Raises:
        ValueError: it is no list in YAML.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a hundred times as fast
    try:
        segments = yaml.load(path.read_text("utf-8"), Loader=loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(segments, list):
        raise ValueError(f"{path}: wanted a list of segments, got {type(segments).__name__}")
    return segments


def _lines(path: Path) -> list[str]:
    """All lines, also empty ones: the place of a line says to which segment it belongs."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as UTF-8: {error}") from None
    return [" ".join(line.split()) for line in text.removesuffix("\n").split("\n")]


def _fault(segment: Any, text: str, translation: str) -> str | None:
    missing = [key for key in KEYS if not isinstance(segment, dict) or key not in segment]
    if missing:
        return f"no {', '.join(missing)}; wanted {{duration: ..., offset: ..., wav: ...}}"
    for key in KEYS[1:]:
        if not isinstance(segment[key], int | float):
            return f"{key} is {segment[key]!r}; wanted seconds"
    if segment["duration"] <= 0 or segment["offset"] < 0:
        return f"from {segment['offset']} s for {segment['duration']} s; wanted a time in the file"
    if not text or not translation:
        return f"its line of the {'translation' if text else 'transcript'} is empty"
    return None
