"""Clotho-AQA: questions about 1991 field recordings of 15 to 30 s, three people's answers to each.

`corpus` holds clotho_aqa_train.csv, _val.csv and _test.csv with the columns file_name,
QuestionText, answer and confidence, a line an answer, and audio_files/. Written are

    train                every answer is a row
    dev, test            a row a question, answered as most of the three did, else as the first
    test_unanimous       the questions of test that all people answered alike

A row's `kind` is yes_no, with these two as `choices`, or open: an answer of one word.

    speechllm data prepare clotho_aqa --corpus clotho-aqa --out data/clotho_aqa

S. Lipping et al., Clotho-AQA: A Crowdsourced Dataset for Audio Question Answering, arXiv
2204.09634; https://zenodo.org/records/6473207
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._table import read_table

SPLITS = {"train": "train", "dev": "val", "test": "test"}  # ours: theirs
COLUMNS = ("file_name", "QuestionText", "answer")
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Asked:
    """A question about a file, with the answers of all people and where the first one stands."""

    file: str
    question: str
    answers: tuple[str, ...]
    where: str

    @property
    def answer(self) -> str:
        """What most people answered; the first answer where all differ."""
        return Counter(self.answers).most_common(1)[0][0]

    @property
    def kind(self) -> str:
        """yes_no where most people answered with one of the two, else open."""
        return "yes_no" if self.answer in YES_NO else "open"


@dataclass(frozen=True)
class Config:
    """Options: only questions of one kind ("yes_no" or "open"), or all."""

    corpus: str
    out: str = "data/clotho_aqa"
    kind: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write the four manifests; by name. Raises ValueError."""
        if self.kind not in ("", "yes_no", "open"):
            raise ValueError(f"kind: wanted 'yes_no', 'open' or nothing, got {self.kind!r}")
        faults = Faults(self.on_error)
        folder = folder_of(self.corpus, "the folder with clotho_aqa_train.csv and audio_files/")
        questions = {ours: self._asked(folder, theirs, faults) for ours, theirs in SPLITS.items()}
        entries = {"train": [e for one in questions["train"] for e in _each(one, folder)]}
        for split in ("dev", "test"):
            entries[split] = [_entry(one, one.answer, folder) for one in questions[split]]
        alike = [one for one in questions["test"] if len(set(one.answers)) == 1]
        entries["test_unanimous"] = [_entry(one, one.answer, folder) for one in alike]
        return finish(self.out, entries, faults)

    def _asked(self, folder: Path, split: str, faults: Faults) -> list[Asked]:
        answers: dict[tuple, list[str]] = {}
        places: dict[tuple, str] = {}
        for where, row in read_table(folder / f"clotho_aqa_{split}.csv", COLUMNS, faults):
            key = row["file_name"], row["QuestionText"]
            answers.setdefault(key, []).append(row["answer"].lower())
            places.setdefault(key, where)
        questions = [Asked(*key, tuple(a), places[key]) for key, a in answers.items()]
        return [one for one in questions if self.kind in ("", one.kind)]


def _each(question: Asked, folder: Path) -> Iterator[Entry]:
    """A row for each person's answer."""
    for number, answer in enumerate(question.answers):
        yield _entry(question, answer, folder, f"-{number}")


def _entry(question: Asked, answer: str, folder: Path, ending: str = "") -> Entry:
    line = question.where.rpartition(":")[2]  # a name of a file says nothing about its question
    row = {
        "id": f"{Path(question.file).stem}-{line}{ending}",
        "audio": str(folder / "audio_files" / question.file),
        "question": question.question,
        "text": answer,
        "kind": question.kind,
        "answers": list(question.answers),
    }
    choices = {"choices": list(YES_NO)} if question.kind == "yes_no" else {}
    return Entry(row | choices, question.where)
