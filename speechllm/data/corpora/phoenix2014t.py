"""RWTH-PHOENIX-Weather 2014 T: weather forecasts in German Sign Language, as folders of frames.

    annotations/manual/PHOENIX-2014-T.<split>.corpus.csv
                       name|video|start|end|speaker|orth|translation
    features/fullFrame-210x260px/<split>/<name>/images0001.png ...

The column `video` says NAME/1/*.png; in the release (v3) the frames lie in NAME itself, some have
moved them: both are found. `start` and `end` are -1.

`corpus` is the folder PHOENIX-2014-T, or one that holds it. Written is a manifest for each split
(train, dev, test): a video, the question, the German sentence; the glosses as `gloss`. With
`poses`, a folder of <split>/<name>.pose, the poses are taken in the videos' place.

    speechllm data prepare phoenix2014t --corpus PHOENIX-2014-T --out data/phoenix2014t

N. C. Camgoz et al., Neural Sign Language Translation, CVPR 2018; layout: the release
PHOENIX-2014-T-release-v3, as loaders of it read it (sign-language-processing/datasets on GitHub).
"""

from dataclasses import dataclass
from pathlib import Path

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._seen import row, table

SPLITS = ("train", "dev", "test")
COLUMNS = ("name", "speaker", "orth", "translation")
NAME = "PHOENIX-2014-T"
RATE_HZ = 25.0  # of the broadcasts


@dataclass(frozen=True)
class Config:
    """Options: splits (all three); poses: a folder of .pose files in the videos' place."""

    corpus: str
    out: str = "data/phoenix2014t"
    splits: tuple[str, ...] = SPLITS
    poses: str = ""
    prompt: str = "Translate the signing into German."
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError."""
        folder = folder_of(self.corpus, f"the folder {NAME}, or one with it")
        places = (folder, folder / NAME)
        home = next((one for one in places if (one / "annotations/manual").is_dir()), None)
        if home is None:
            raise ValueError(f"{folder}: no annotations/manual in it; is it unpacked there?")
        faults = Faults(self.on_error)
        splits = {name: self._entries(home, name, faults) for name in self.splits}
        return finish(self.out, splits, faults)

    def _entries(self, home: Path, split: str, faults: Faults) -> list[Entry]:
        """The sentences of one split."""
        path, entries = home / f"annotations/manual/{NAME}.{split}.corpus.csv", []
        for where, values in table(path, "|", COLUMNS):
            try:
                part = self._part(home, split, values["name"])
                text = values["translation"]
                made = row(values["name"], [part], self.prompt, text, speaker=values["speaker"])
                entries.append(Entry(made | {"gloss": values["orth"], "lang": "de"}, where))
            except ValueError as error:
                faults.add(where, str(error))
        return entries

    def _part(self, home: Path, split: str, name: str) -> dict:
        """The video, or the pose, of a sentence.

        Raises:
            ValueError: it is not there.
        """
        if self.poses:
            place = Path(self.poses).expanduser().absolute() / split / f"{name}.pose"
            if not place.is_file():
                raise ValueError(f"no pose at {place}")
            return {"type": "pose", "pose": str(place)}
        home = home / "features/fullFrame-210x260px" / split / name
        for place in (home, home / "1"):
            if frames := sum(1 for _ in place.glob("*.png")):
                break
        else:
            raise ValueError(f"no frames at {home}")
        return {"type": "video", "video": str(place), "duration": frames / RATE_HZ}
