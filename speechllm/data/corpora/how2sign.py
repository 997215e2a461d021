"""How2Sign: instructional videos in American Sign Language, sentence by sentence, as keypoints.

    sentence_level/<split>/text/en/raw_text/re_aligned/how2sign_realigned_<split>.csv
    sentence_level/<split>/rgb_front/features/openpose_output/json/<SENTENCE_NAME>/*.json
    sentence_level/<split>/rgb_front/raw_videos/<SENTENCE_NAME>.mp4

The tables' columns, between tabs: VIDEO_ID, VIDEO_NAME, SENTENCE_ID, SENTENCE_NAME,
START_REALIGNED, END_REALIGNED, SENTENCE. Some sentences have no keypoints (118, 2 and 14 of the
three splits): `on_error = "skip"` leaves them out.

`corpus` is the folder that holds sentence_level. Written is a manifest for each split (train, val,
test): a pose, with `video` the clip beside it, the question with the `context` sentences before of
the same video, the English sentence.

    speechllm data prepare how2sign --corpus How2Sign --out data/how2sign

A. Duarte et al., How2Sign, CVPR 2021, arXiv 2008.08143; layout: that which download_how2sign.sh of
github.com/how2sign/how2sign.github.io makes (rgb_front_clips, rgb_front_2D_keypoints,
english_translation_re-aligned).
"""

from dataclasses import dataclass
from pathlib import Path

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._seen import asked, row, table
from speechllm.ranges import Size

SPLITS = ("train", "val", "test")
COLUMNS = ("VIDEO_NAME", "SENTENCE_NAME", "START_REALIGNED", "END_REALIGNED", "SENTENCE")


@dataclass(frozen=True)
class Config:
    """Options: splits (all three); context: sentences before; video: with the clip, too."""

    corpus: str
    out: str = "data/how2sign"
    splits: tuple[str, ...] = SPLITS
    context: Size = 1
    video: bool = False
    prompt: str = "Translate the signing into English."
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError."""
        folder = folder_of(self.corpus, "the folder with sentence_level in it")
        home = folder / "sentence_level"
        if not home.is_dir():
            raise ValueError(f"{folder}: no sentence_level in it; is it unpacked there?")
        faults = Faults(self.on_error)
        splits = {name: self._entries(home / name, faults) for name in self.splits}
        return finish(self.out, splits, faults)

    def _entries(self, split: Path, faults: Faults) -> list[Entry]:
        """The sentences of one split, in the order of their videos."""
        name = f"how2sign_realigned_{split.name}.csv"
        path = split / "text/en/raw_text/re_aligned" / name
        entries, before, last = [], [], ""
        rows = [(where, values, _start(where, values)) for where, values in _rows(path)]
        rows.sort(key=lambda one: (one[1]["VIDEO_NAME"], one[2]))
        for where, values, _ in rows:
            if values["VIDEO_NAME"] != last:
                before, last = [], values["VIDEO_NAME"]
            try:
                entries.append(Entry(self._row(split, values, before), where))
            except ValueError as error:
                faults.add(where, str(error))
            before = [*before, values["SENTENCE"]][-self.context :] if self.context else []
        return entries

    def _row(self, split: Path, values: dict, before: list[str]) -> dict:
        """One sentence.

        Raises:
            ValueError: its keypoints or its clip are not there.
        """
        name, home = values["SENTENCE_NAME"], split / "rgb_front"
        places = {"pose": home / "features/openpose_output/json" / name}
        if self.video:
            places["video"] = home / "raw_videos" / f"{name}.mp4"
        for kind, place in places.items():
            if not place.exists():
                raise ValueError(f"no {kind} at {place}")
        parts = [{"type": kind, kind: str(place)} for kind, place in places.items()]
        question = asked(self.prompt, before)
        return row(name, parts, question, values["SENTENCE"], lang="en")


def _rows(path: Path) -> list[tuple[str, dict]]:
    return table(path, "\t", COLUMNS)


def _start(where: str, values: dict) -> float:
    """When a sentence begins in its video. Raises ValueError."""
    try:
        return float(values["START_REALIGNED"])
    except ValueError:
        raise ValueError(
            f"{where}: START_REALIGNED is {values['START_REALIGNED']!r}; wanted seconds"
        ) from None
