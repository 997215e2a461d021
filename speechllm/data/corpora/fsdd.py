"""Free Spoken Digit Dataset: recordings/<digit>_<speaker>_<index>.wav, 8 kHz, six speakers.

Written are, each with isolated digits (`train`, `test`) and with strings of 3 to 7 digits joined
within one speaker (`strings_train`, `strings_test`):

    official/       index 0 to 4 is test, as the data set's README says; the rest is train
    loso_<name>/    all of that speaker is test, all other speakers are train

With `n_dev` of 1 or more, so many recordings of each digit and speaker go from train to `dev` and
`strings_dev`. The joined waves stand in strings/; the same options give the same bytes.

    speechllm data prepare fsdd --corpus fsdd --out data/fsdd

https://github.com/Jakobovski/free-spoken-digit-dataset
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._headers import measure

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "dev", "test")
N_TEST = 5  # index 0 to 4


@dataclass(frozen=True)
class Recording:
    """One isolated digit."""

    path: Path
    digit: int
    speaker: str
    index: int


@dataclass(frozen=True)
class Config:
    """Options: each recording is used in `passes` strings, apart by gap_min to gap_max seconds."""

    corpus: str
    out: str = "data/fsdd"
    n_dev: int = 0
    passes: int = 3
    min_digits: int = 3
    max_digits: int = 7
    gap_min: float = 0.02
    gap_max: float = 0.25
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests and the joined waves; manifests by name ("official/train")."""
        if not 1 <= self.min_digits <= self.max_digits or not 0 <= self.gap_min <= self.gap_max:
            raise ValueError(f"wanted 1 <= min_digits <= max_digits and gaps likewise, got {self}")
        faults = Faults(self.on_error)
        recordings = _readable(recordings_of(self.corpus, faults), faults)
        faults.settle(Path(self.out).absolute())
        single = {split: self._of(split, recordings) for split in SPLITS}
        folder = Path(self.out).absolute() / "strings"
        strings = {split: list(self._join(split, part, folder)) for split, part in single.items()}
        isolated = {split: [_entry(one) for one in part] for split, part in single.items()}
        manifests = {f"official/{k}": v for k, v in isolated.items()}
        manifests |= {f"official/strings_{k}": v for k, v in strings.items()}
        for speaker in sorted({recording.speaker for recording in recordings}):
            for prefix, splits in (("", isolated), ("strings_", strings)):
                left_out = _leave_out(speaker, splits)
                manifests |= {f"loso_{speaker}/{prefix}{k}": v for k, v in left_out.items()}
        return finish(self.out, {k: v for k, v in manifests.items() if v}, faults)

    def _of(self, split: str, recordings: list[Recording]) -> list[Recording]:
        first, after = {
            "test": (0, N_TEST),
            "dev": (N_TEST, N_TEST + self.n_dev),
            "train": (N_TEST + self.n_dev, 1 << 30),
        }[split]
        return [recording for recording in recordings if first <= recording.index < after]

    def _join(self, split: str, recordings: list[Recording], folder: Path) -> Iterator[Entry]:
        """Cut each speaker's shuffled recordings into strings, `passes` times, and write them."""
        speakers = sorted({recording.speaker for recording in recordings})
        for speaker in tqdm(speakers, desc=f"strings of {split}", unit="speaker", disable=None):
            mine = [recording for recording in recordings if recording.speaker == speaker]
            rng = np.random.default_rng(zlib.crc32(f"{self.seed} {split} {speaker}".encode()))
            parts = [part for _ in range(self.passes) for part in self._cut(mine, rng)]
            for number, part in enumerate(parts):
                path = folder / split / f"{speaker}_{number:04d}.wav"
                yield _string(path, part, rng, (self.gap_min, self.gap_max))

    def _cut(self, recordings: list[Recording], rng: np.random.Generator) -> list[list[Recording]]:
        order = [recordings[i] for i in rng.permutation(len(recordings))]
        parts, start = [], 0
        while len(order) - start >= self.min_digits:
            size = int(rng.integers(self.min_digits, self.max_digits + 1))
            parts.append(order[start : start + size])
            start += size
        return parts


def recordings_of(corpus: str, faults: Faults) -> list[Recording]:
    folder = folder_of(corpus, "the folder with recordings/ in it")
    folder = folder / "recordings" if (folder / "recordings").is_dir() else folder
    recordings = []
    for path in sorted(folder.glob("*.wav")):
        digit, _, rest = path.stem.partition("_")
        speaker, _, index = rest.rpartition("_")
        if digit in [*"0123456789"] and speaker and index.isascii() and index.isdigit():
            recordings.append(Recording(path, int(digit), speaker, int(index)))
        else:
            faults.add(str(path), "is not named <digit>_<speaker>_<index>.wav; rename or remove it")
    if not recordings:
        raise ValueError(f"{folder}: no <digit>_<speaker>_<index>.wav in it")
    return recordings


def _readable(recordings: list[Recording], faults: Faults) -> list[Recording]:
    """Without those whose header cannot be read, which are noted."""
    lengths = measure(str(recording.path) for recording in recordings)
    unreadable = {path: fault for path, fault in lengths.items() if isinstance(fault, str)}
    for path, fault in unreadable.items():
        faults.add(path, fault)
    return [recording for recording in recordings if str(recording.path) not in unreadable]


def _entry(recording: Recording) -> Entry:
    row = {
        "id": recording.path.stem,
        "audio": str(recording.path),
        "text": WORDS[recording.digit],
        "speaker": recording.speaker,
        "lang": "en",
    }
    return Entry(row, str(recording.path))


def _string(
    path: Path, parts: list[Recording], rng: np.random.Generator, gaps: tuple[float, float]
) -> Entry:
    """Write the recordings one after another, with gaps of faint noise; their entry."""
    pieces: list[np.ndarray] = []
    for recording in parts:
        wave, rate = soundfile.read(recording.path, dtype="float32", always_2d=True)
        if pieces:
            gap = rng.standard_normal(int(rng.uniform(*gaps) * rate)).astype(np.float32)
            # One step of 16 bits: no digital silence, which nobody hears in a real string.
            pieces.append(gap / 32768)
        pieces.append(wave.mean(axis=1))
    wave = np.concatenate(pieces)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="PCM_16")
    row = {
        "id": f"{path.parent.name}_{path.stem}",
        "audio": str(path),
        "duration": len(wave) / rate,
        "text": " ".join(WORDS[recording.digit] for recording in parts),
        "speaker": parts[0].speaker,
        "lang": "en",
    }
    return Entry(row, str(path))


def _leave_out(speaker: str, splits: dict[str, list[Entry]]) -> dict[str, list[Entry]]:
    """All of a speaker as test; of the others, train with their test, and dev."""

    def others(split: str) -> list[Entry]:
        return [entry for entry in splits[split] if entry.row["speaker"] != speaker]

    mine = [entry for part in splits.values() for entry in part if entry.row["speaker"] == speaker]
    return {"train": others("train") + others("test"), "dev": others("dev"), "test": mine}
