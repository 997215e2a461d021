"""AudioCaps: descriptions of 10 s of sound from AudioSet, one in train, five in dev and test.

`corpus` holds dataset/train.csv, val.csv and test.csv (or the tables themselves) with the columns
audiocap_id, youtube_id, start_time and caption. The sounds are not published; whoever has them lays
them into `audio_dir`, by default the corpus itself, or its train/, val/, test/ or audio/, called
<youtube_id>_<start_time>, <youtube_id>, Y<youtube_id> or <audiocap_id>, as .wav or .flac.
Many are gone: `--on-error skip` lists them and goes on.

A row a clip: `text` is its first description, `texts` are all of several.

    speechllm data prepare audiocaps --corpus audiocaps --out data/audiocaps --on-error skip

C. D. Kim et al., AudioCaps: Generating Captions for Audios in The Wild, NAACL 2019;
https://github.com/cdjkim/audiocaps
"""

from dataclasses import dataclass
from pathlib import Path

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._table import read_table

SPLITS = {"train": "train", "dev": "val", "test": "test"}  # ours: theirs
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class Config:
    """Options: the folder of the sounds."""

    corpus: str
    out: str = "data/audiocaps"
    audio_dir: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write train, dev and test; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        folder = folder_of(self.corpus, "the folder with dataset/train.csv")
        tables = folder / "dataset" if (folder / "dataset").is_dir() else folder
        sounds = folder_of(self.audio_dir or self.corpus, "the folder of the sounds")
        entries = {}
        for ours, theirs in SPLITS.items():
            clips: dict[tuple, list[dict]] = {}
            places: dict[tuple, str] = {}
            for where, row in read_table(tables / f"{theirs}.csv", COLUMNS, faults):
                key = row["youtube_id"], row["start_time"]
                clips.setdefault(key, []).append(row)
                places.setdefault(key, where)
            entries[ours] = [
                entry
                for key, rows in clips.items()
                if (entry := _entry(rows, sounds, theirs, places[key], faults))
            ]
        return finish(self.out, entries, faults)


def _entry(rows: list[dict], sounds: Path, split: str, where: str, faults: Faults) -> Entry | None:
    audio = _locate(rows[0], sounds, split)
    if audio is None:
        faults.add(where, f"no sound of {rows[0]['youtube_id']} in {sounds}; skip it, or fetch it")
        return None
    texts = [row["caption"] for row in rows]
    row = {"id": f"{rows[0]['youtube_id']}_{rows[0]['start_time']}", "audio": audio}
    row |= {"text": texts[0], "lang": "en"}
    return Entry(row | ({"texts": texts} if len(texts) > 1 else {}), where)


def _locate(row: dict, sounds: Path, split: str) -> str | None:
    video = row["youtube_id"]
    names = (f"{video}_{row['start_time']}", video, f"Y{video}", row["audiocap_id"])
    for below in (split, "audio", f"audio/{split}", ""):
        for name in names:
            for suffix in SUFFIXES:
                path = sounds / below / f"{name}{suffix}"
                if path.is_file():
                    return str(path)
    return None
