"""LibriSpeech and Mini LibriSpeech: <split>/<speaker>/<chapter>/<id>.flac and *.trans.txt.

The audio may also be .opus, .ogg or .wav. A manifest is written for each split that is there, or
for those asked for; texts stay as they are, in capitals. `download` fetches the splits from
OpenSLR first; a broken download goes on where it ended.

    speechllm data prepare librispeech --corpus LibriSpeech --out data/librispeech
    speechllm data prepare librispeech --corpus LibriSpeech --out data/librispeech \\
        --splits train-clean-5 dev-clean-2 --download

V. Panayotov et al., LibriSpeech: an ASR corpus based on public domain audio books, ICASSP 2015.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._download import Archive, fetch
from speechllm.data.corpora._lines import read_lines

# MD5 from md5sum.txt of https://www.openslr.org/resources/12 and 31.
ARCHIVES = {
    "train-clean-5": Archive("31/train-clean-5.tar.gz", "5df7d4e78065366204ca6845bb08f490"),
    "dev-clean-2": Archive("31/dev-clean-2.tar.gz", "6d7ab67ac6a1d2c993d050e16d61080d"),
    "train-clean-100": Archive("12/train-clean-100.tar.gz", "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": Archive("12/train-clean-360.tar.gz", "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": Archive("12/train-other-500.tar.gz", "d1a0fd59409feb2c614ce4d30c387708"),
    "dev-clean": Archive("12/dev-clean.tar.gz", "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": Archive("12/dev-other.tar.gz", "c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": Archive("12/test-clean.tar.gz", "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": Archive("12/test-other.tar.gz", "fb5a50374b501bb3bac4815ee91d3135"),
}
SPLITS = tuple(ARCHIVES)
SUFFIXES = (".flac", ".opus", ".ogg", ".wav")
MIRROR = "https://www.openslr.org/resources"


@dataclass(frozen=True)
class Config:
    """Options: `corpus` is the folder that holds the splits (or LibriSpeech/ with them)."""

    corpus: str
    out: str = "data/librispeech"
    splits: tuple[str, ...] = ()
    download: bool = False
    mirror: str = MIRROR
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError, OSError."""
        faults = Faults(self.on_error)
        if self.download:
            download(self.corpus, self.splits or ("train-clean-5", "dev-clean-2"), self.mirror)
        folder = folder_of(self.corpus, "the folder with train-clean-100, dev-clean, ...")
        if (folder / "LibriSpeech").is_dir():
            folder = folder / "LibriSpeech"
        gender = _genders(folder / "SPEAKERS.TXT")
        splits = {name: _entries(folder / name, gender, faults) for name in self._splits(folder)}
        return finish(self.out, splits, faults)

    def _splits(self, folder: Path) -> list[str]:
        there = sorted({path.parents[2].name for path in folder.glob("*/*/*/*.trans.txt")})
        if missing := [name for name in self.splits if name not in there]:
            raise ValueError(
                f"{folder} has no {', '.join(missing)} with transcripts (*.trans.txt); "
                f"it has {', '.join(there) or 'none'}; --download fetches what is missing"
            )
        if not there:
            raise ValueError(f"{folder}: no <split>/<speaker>/<chapter>/*.trans.txt in it")
        return list(self.splits) or there


def download(folder: str, splits: tuple[str, ...], mirror: str = MIRROR) -> None:
    """Fetch and unpack splits from OpenSLR, as `folder/LibriSpeech/<split>`; what is there stays.

    Raises ValueError for an unknown split, OSError where the network or the checksum fails.
    """
    if unknown := [name for name in splits if name not in ARCHIVES]:
        raise ValueError(f"no split is called {', '.join(unknown)}; there are {', '.join(SPLITS)}")
    for name in splits:
        fetch(ARCHIVES[name], mirror, Path(folder), holds=f"LibriSpeech/{name}")


def _entries(split: Path, gender: dict[str, str], faults: Faults) -> list[Entry]:
    return [
        entry
        for transcript in sorted(split.glob("*/*/*.trans.txt"))
        for entry in _chapter(transcript, gender, faults)
    ]


def _chapter(transcript: Path, gender: dict[str, str], faults: Faults) -> Iterator[Entry]:
    """The utterances of one chapter; notes lines without audio and audio without a line."""
    folder = transcript.parent
    audio = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}
    speaker = folder.parent.name
    for where, line in read_lines(transcript):
        id, _, text = line.partition(" ")
        path = audio.pop(id, None)
        if path is None:
            faults.add(
                where, f"no audio for {id} ({'|'.join(SUFFIXES)}); fetch it, or remove the line"
            )
            continue
        row = {"id": id, "audio": str(path), "text": text.strip(), "speaker": speaker, "lang": "en"}
        if speaker in gender:
            row["gender"] = gender[speaker]
        yield Entry(row, where)
    for id, path in audio.items():
        faults.add(
            str(path), f"no line of {transcript.name} begins with {id}; add it, or remove it"
        )


def _genders(path: Path) -> dict[str, str]:
    """Speaker to F or M, from SPEAKERS.TXT where there is one."""
    if not path.exists():
        return {}
    fields = (line.split("|") for _, line in read_lines(path) if not line.startswith(";"))
    return {field[0].strip(): field[1].strip() for field in fields if len(field) > 2}
