"""ESC-10: 398 or 400 environmental sounds of 5 s in ten classes, in five published folds.

`corpus` holds esc10.csv (or ESC-50's meta/esc50.csv, of which ESC-10 is a part) with the columns
filename, fold and category, and audio/. Written are for each fold of `folds`

    fold<k>/train, dev, test              what is it? answered by one word, a row a clip
    fold<k>/questions_<split>             questions of six kinds about one sound or two
    text, text_dev                        such questions with the names of sounds in their place

Fold k is test; the fold after it is dev, for every choice that is made; three are train. Questions
of dev and of test have forms of words of their own. Answers are balanced within each kind, so that
no constant answer scores. With `spoken` there are questions that are speech, by espeak-ng, in
voices that differ between the splits:

    fold<k>/spoken_<split>                a sound and a spoken question, yes or no
    fold<k>/words_<split>                 the questions alone: which sound does each name?

    speechllm data prepare esc10 --corpus ESC-10 --out data/esc10

K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015;
https://github.com/karolpiczak/ESC-50
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllm.data import manifest
from speechllm.data.corpora import _questions, _spoken
from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._headers import measure
from speechllm.data.corpora._questions import Asker, Question
from speechllm.data.corpora._table import read_table

SPLITS = ("train", "dev", "test")
FOLDS = (1, 2, 3, 4, 5)
NAMES = {  # category -> a name of one word, and how a question calls it
    "dog": ("dog", "a dog"),
    "rooster": ("rooster", "a rooster"),
    "rain": ("rain", "rain"),
    "sea_waves": ("waves", "waves"),
    "crackling_fire": ("fire", "a fire"),
    "crying_baby": ("baby", "a baby"),
    "sneezing": ("sneeze", "a sneeze"),
    "clock_tick": ("clock", "a clock"),
    "helicopter": ("helicopter", "a helicopter"),
    "chainsaw": ("chainsaw", "a chainsaw"),
}
COLUMNS = ("filename", "fold", "category")
TABLES = ("esc10.csv", "meta/esc50.csv")
CALLED = dict(NAMES.values())


@dataclass(frozen=True)
class Clip:
    """One sound."""

    path: str
    fold: int
    name: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Config:
    """Options: folds that are test, questions of each kind a clip, questions of names alone."""

    corpus: str
    out: str = "data/esc10"
    folds: tuple[int, ...] = FOLDS
    per_clip: int = 2
    n_text: int = 20000
    spoken: bool = False
    seed: int = 0
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write all manifests; by name ("fold1/train"). Raises ValueError."""
        _check(self)
        faults = Faults(self.on_error)
        clips = _measured(list(_clips(self.corpus, faults)), faults)
        faults.settle(Path(self.out).absolute())
        out = Path(self.out).absolute()
        spoken = _spoken.speak(CALLED, out / "spoken", self.seed) if self.spoken else {}
        entries = {}
        for fold in self.folds:
            for split, part in _split(clips, fold).items():
                if not part:
                    raise ValueError(f"{self.corpus}: no clip for {split} of fold {fold}")
                entries[f"fold{fold}/{split}"] = [_class_entry(clip) for clip in part]
                rng = self._rng(f"{fold} {split}")
                entries[f"fold{fold}/questions_{split}"] = list(_questioned(part, split, self, rng))
                if spoken:
                    questions = _spoken.about(spoken[split], _by_name(part), rng)
                    place = f"fold {fold}, {split}"
                    entries[f"fold{fold}/words_{split}"] = _words(spoken[split])
                    entries[f"fold{fold}/spoken_{split}"] = [Entry(row, place) for row in questions]
        return finish(self.out, entries, faults) | self._write_text()

    def _write_text(self) -> dict[str, Path]:
        manifests = {}
        for name, split, n in (("text", "train", self.n_text), ("text_dev", "dev", 600)):
            manifests[name] = Path(self.out).absolute() / f"{name}.jsonl"
            manifest.write(manifests[name], _text_rows(name, split, n, self._rng(name)))
        return manifests

    def _rng(self, what: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.seed} {what}".encode()))


def _check(config: Config) -> None:
    unknown = [fold for fold in config.folds if fold not in FOLDS]
    if unknown or not config.folds:
        raise ValueError(
            f"folds: there is no fold {', '.join(map(str, unknown)) or 'given'}; wanted some of "
            f"{', '.join(map(str, FOLDS))}"
        )
    if config.per_clip < 1 or config.n_text < 1:
        raise ValueError(f"wanted per_clip and n_text of 1 or more, got {config}")


def _clips(corpus: str, faults: Faults) -> Iterator[Clip]:
    folder = folder_of(corpus, "the folder with esc10.csv and audio/ in it")
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise ValueError(f"{folder}: no {' or '.join(TABLES)} in it")
    for where, row in read_table(table, COLUMNS, faults):
        if row.get("esc10", "True") != "True":
            continue  # ESC-50 has forty classes more
        if row["category"] not in NAMES:
            faults.add(where, f"category {row['category']!r}; wanted {', '.join(NAMES)}")
        elif row["fold"] not in map(str, FOLDS):
            faults.add(where, f"fold {row['fold']!r}; wanted {', '.join(map(str, FOLDS))}")
        else:
            path = folder / "audio" / row["filename"]
            yield Clip(str(path), int(row["fold"]), NAMES[row["category"]][0])


def _measured(clips: list[Clip], faults: Faults) -> list[Clip]:
    """The clips with their seconds; what cannot be read is noted."""
    lengths = measure(clip.path for clip in clips)
    for path, length in lengths.items():
        if isinstance(length, str):
            faults.add(path, length)
    good = [(clip, lengths[clip.path]) for clip in clips]
    return [
        Clip(c.path, c.fold, c.name, round(info.duration_s, 6))
        for c, info in good
        if not isinstance(info, str)
    ]


def _split(clips: list[Clip], fold: int) -> dict[str, list[Clip]]:
    """The fold as test, the one after it as dev, the others as train."""
    dev = fold % len(FOLDS) + 1
    place = {fold: "test", dev: "dev"}
    return {s: [c for c in clips if place.get(c.fold, "train") == s] for s in SPLITS}


def _class_entry(clip: Clip) -> Entry:
    row = {"id": Path(clip.path).stem, "audio": clip.path, "duration": clip.seconds}
    row |= {"question": _questions.FORMS["class"]["train"][0], "text": clip.name, "kind": "class"}
    return Entry(row | {"choices": list(CALLED)}, clip.path)


def _questioned(
    clips: list[Clip], split: str, config: Config, rng: np.random.Generator
) -> Iterator[Entry]:
    """`per_clip` questions of each kind about each clip, with a second clip where one is wanted."""
    asker = Asker(CALLED, split, rng)
    for kind in _questions.KINDS:
        for number in range(config.per_clip):
            for place, clip in enumerate(clips):
                # `place` turns the answers of one pass over the clips, which lie class by class
                question = asker.ask(kind, clip.name, place + number)
                id = f"{Path(clip.path).stem}-{kind}-{number}"
                yield Entry(_row(id, question, clip, clips, rng), clip.path)


def _part(clip: Clip) -> dict:
    return {"type": "audio", "audio": clip.path, "duration": clip.seconds}


def _by_name(clips: list[Clip]) -> dict[str, list[dict]]:
    """Parts of messages, by the names of the sounds."""
    return {name: [_part(clip) for clip in clips if clip.name == name] for name in CALLED}


def _words(spoken: list[dict]) -> list[Entry]:
    """Spoken questions by themselves: the name in each, all else being the same for all names."""
    named = {"kind": "words", "choices": list(CALLED)}
    return [
        Entry(row | named | {"text": row["asked"], "transcript": row["text"]}, row["audio"])
        for row in spoken
    ]


def _row(id: str, q: Question, clip: Clip, clips: list[Clip], rng: np.random.Generator) -> dict:
    row = {"id": id, "text": q.text, "kind": q.kind, "choices": list(q.choices)}
    if len(q.heard) == 1:
        return row | {"audio": clip.path, "duration": clip.seconds, "question": q.question}
    sounds = _sounds(q.heard, clip, clips, rng)
    content = [*map(_part, sounds), {"type": "text", "text": q.question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": q.text}]
    return row | {"duration": sum(s.seconds for s in sounds), "messages": turns}


def _sounds(
    heard: tuple[str, ...], clip: Clip, clips: list[Clip], rng: np.random.Generator
) -> list[Clip]:
    """The clip itself where its name stands first, and others by chance, never one twice."""
    chosen: list[Clip] = []
    for name in heard:
        if name == clip.name and clip not in chosen:
            chosen.append(clip)
            continue
        others = [c for c in clips if c.name == name and c not in (clip, *chosen)]
        if not others:
            raise ValueError(f"fold {clip.fold}: one clip of {name} alone; a comparison wants two")
        chosen.append(others[int(rng.integers(len(others)))])
    return chosen


def _text_rows(name: str, split: str, n: int, rng: np.random.Generator) -> Iterator[dict]:
    """Questions of all kinds about all names in turn, without any sound."""
    asker, names = Asker(CALLED, split, rng), list(CALLED)
    for number in range(n):
        turn, kind = divmod(number, len(_questions.KINDS))
        turn, which = divmod(turn, len(names))
        q = asker.ask(_questions.KINDS[kind], names[which], turn)
        row = {"id": f"{name}-{number:06d}", "heard": list(q.heard), "question": q.question}
        yield row | {"text": q.text, "kind": q.kind, "choices": list(q.choices)}
