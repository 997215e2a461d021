"""LLaVA's instructions: conversations about pictures, as one list in JSON.

    llava_v1_5_mix665k.json    [{"id": "000000033471", "image": "coco/train2017/000000033471.jpg",
                                 "conversations": [
                                 {"from": "human", "value": "<image>\\nWhat is it?"},
                                 {"from": "gpt", "value": "A dog."}]}, ...]
    images/coco/train2017/000000033471.jpg, gqa/images, ocr_vqa/images (.jpg), textvqa/train_images,
           vg/VG_100K, vg/VG_100K_2

Written are `train` and `dev` (`n_dev` conversations, drawn by the seed, those of one picture on one
side): all turns, every answer learned. As LLaVA's own training (llava/train/train.py) does it, the
picture stands first in the turn that holds `<image>`, wherever in it that is, and an answer that
nobody asked for (ShareGPT's) is left out at the beginning; a last question without an answer, too.
`corpus` is the file; `images` the folder of the pictures, that of the file if not given.
Conversations without a picture stay (40,688 of the 665 thousand); ids that stand several times,
as those of COCO's do, are told apart by a number.

    speechllm data prepare llava --corpus llava_v1_5_mix665k.json --images images --out data/llava

H. Liu et al., arXiv 2304.08485 and 2310.03744; layout: docs/Finetune_Custom_Data.md and README.md
of github.com/haotian-liu/LLaVA, the file of huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

from speechllm import files
from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.ranges import Positive

ROLES = {"human": "user", "gpt": "assistant"}
MARK = "<image>"


@dataclass(frozen=True)
class Config:
    """Options: the folder of the pictures; about how many conversations are held out."""

    corpus: str
    images: str = ""
    out: str = "data/llava"
    n_dev: Positive = 500
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write train.jsonl and dev.jsonl; manifests by name. Raises ValueError."""
        path = folder_of(self.corpus, "a list of conversations in JSON")
        images = folder_of(self.images or str(path.parent), "the folder of the pictures")
        faults, items = Faults(self.on_error), files.read_json(path, list)
        splits: dict[str, list[Entry]] = {"train": [], "dev": []}
        for number, item in enumerate(items):
            where = f"{path}, item {number}"
            try:
                row = _row(item, images, number)
            except ValueError as error:
                faults.add(where, str(error))
                continue
            splits[self._split(item, len(items))].append(Entry(row, where))
        return finish(self.out, splits, faults, apart=True)

    def _split(self, item: dict, n: int) -> str:
        """Say where a conversation goes, by its picture, or where it has none by its id."""
        key = f"{self.seed} {item.get('image') or item.get('id')}"
        return "dev" if zlib.crc32(key.encode()) % max(n, 1) < self.n_dev else "train"


def _row(item, images: Path, number: int) -> dict:
    """One conversation.

    Raises:
        ValueError: no conversation, turns out of order, a picture that is missing or not one mark.
    """
    turns = item.get("conversations") if isinstance(item, dict) else None
    if not isinstance(turns, list) or not turns:
        raise ValueError("no conversations in it")
    turns, picture = _answered(turns), item.get("image")
    if picture and not isinstance(picture, str):
        raise ValueError(f"image: wanted the path of one picture, got {picture!r}")
    if picture and not (images / picture).is_file():
        raise ValueError(f"no picture at {images / picture}")
    messages, marks = [], 0
    for place, turn in enumerate(turns):
        wanted = ("human", "gpt")[place % 2]
        said = turn.get("value") if isinstance(turn, dict) else None
        if (
            not isinstance(turn, dict)
            or turn.get("from") != wanted
            or not isinstance(said, str)
            or not said.strip()
        ):
            raise ValueError(f"turn {place}: wanted something that {wanted} says, got {turn}")
        marks += said.count(MARK)
        messages.append({"role": ROLES[wanted], "content": _content(said, images, picture)})
    if messages[-1]["role"] != "assistant" or marks != bool(picture):
        raise ValueError(f"wanted an answer at the end and {MARK} once for its picture, got "
                         f"{len(turns)} turns, {marks} marks, picture {picture!r}")  # fmt: skip
    text = turns[-1]["value"].strip()
    return {"id": str(item.get("id", number)), "messages": messages, "text": text}


def _answered(turns: list) -> list:
    """Leave out an answer at the beginning, and a question at the end."""
    said = [turn.get("from") if isinstance(turn, dict) else None for turn in turns]
    first = int(said[0] == "gpt" and "human" in said)
    last = len(turns) - (said[-1] == "human" and "gpt" in said[first:])
    return turns[first:last]


def _content(said: str, images: Path, picture: str | None):
    """What a turn holds: text, or its picture and text behind it."""
    if MARK not in said or not picture:
        return said.strip()
    text = said.replace(MARK, "", 1).strip()
    part = {"type": "image", "image": str(images / picture)}
    return [part, {"type": "text", "text": text}] if text else [part]
