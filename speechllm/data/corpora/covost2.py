"""CoVoST 2: Common Voice clips with their translations, as its authors published them.

`corpus` is a Common Voice language folder (clips/, validated.tsv); in it, or in `tables`, lies
either `covost_v2.de_en.tsv` (path, translation, split: sentences and speakers are then taken from
validated.tsv) or the authors' splits of it, `covost_v2.de_en.train.tsv` and so on (path, sentence,
translation, client_id). Written are train, dev and test; `train_covost` of the table belongs to
train.

    speechllm data prepare covost2 --corpus cv-corpus-4/de --source de --target en --out data/de_en

C. Wang, A. Wu, J. Pino, CoVoST 2 and massively multilingual speech-to-text translation, 2020.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of
from speechllm.data.corpora._lines import records
from speechllm.tasks import languages

SPLITS = ("train", "dev", "test")
Row = tuple[str, dict[str, str]]  # where it stands, its fields by column


@dataclass(frozen=True)
class Config:
    """Options: languages as in the tables' names ("de", "zh-CN"), where the tables are."""

    corpus: str
    source: str
    target: str
    out: str = "data/covost2"
    tables: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<split>.jsonl` for each split; manifests by split. Raises ValueError."""
        self._check_languages()
        folder = folder_of(self.corpus, "a Common Voice language folder, with clips/")
        if not (folder / "clips").is_dir():
            raise ValueError(f"{folder}: no clips/ in it; give a Common Voice language folder")
        faults = Faults(self.on_error)
        splits = {
            split: [entry for row in rows for entry in self._entry(*row, folder, faults)]
            for split, rows in self._splits(folder, faults).items()
        }
        return finish(self.out, splits, faults)

    def _check_languages(self) -> None:
        if languages.code(self.source) == languages.code(self.target):
            raise ValueError(f"source and target are one language, {self.source!r}")

    def _splits(self, folder: Path, faults: Faults) -> dict[str, list[Row]]:
        tables = folder_of(self.tables or str(folder), "the folder with covost_v2.*.tsv")
        stem = f"covost_v2.{self.source}_{self.target}"
        tables_of = {split: tables / f"{stem}.{split}.tsv" for split in SPLITS}
        there = {split: path for split, path in tables_of.items() if path.is_file()}
        if there:
            wanted = ("path", "sentence", "translation")
            return {split: _table(path, wanted, faults) for split, path in there.items()}
        whole = tables / f"{stem}.tsv"
        if not whole.is_file():
            turned = tables / f"covost_v2.{self.target}_{self.source}.tsv"
            hint = "source and target are swapped" if turned.is_file() else "give --tables"
            raise ValueError(f"{tables}: neither {stem}.tsv nor {stem}.train.tsv in it; {hint}")
        return self._joined(whole, folder / "validated.tsv", faults)

    def _joined(self, table: Path, validated: Path, faults: Faults) -> dict[str, list[Row]]:
        """Split the authors' table, each row with its sentence and speaker of Common Voice."""
        if not validated.is_file():
            raise ValueError(f"{validated}: no such file; {table.name} has no sentences without it")
        clips = {f["path"]: f for _, f in _table(validated, ("path", "sentence"), faults)}
        splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
        for where, fields in _table(table, ("path", "translation", "split"), faults):
            split, clip = fields["split"].removesuffix("_covost"), clips.get(fields["path"])
            if split not in splits:
                faults.add(
                    where, f"split is {fields['split']!r}; wanted one of {', '.join(SPLITS)}"
                )
            elif clip is None:
                faults.add(where, f"{fields['path']} is not in {validated}; is it that release?")
            else:
                splits[split].append((where, clip | fields))
        return {split: rows for split, rows in splits.items() if rows}

    def _entry(
        self, where: str, fields: dict[str, str], folder: Path, faults: Faults
    ) -> Iterator[Entry]:
        text, translation = fields["sentence"].strip(), fields["translation"].strip()
        if not text or not translation:
            faults.add(where, f"{fields['path']} has no {'translation' if text else 'sentence'}")
            return
        row: dict[str, Any] = {"id": Path(fields["path"]).stem}
        row |= {"audio": str(folder / "clips" / fields["path"]), "text": text}
        row |= {"speaker": fields["client_id"]} if fields.get("client_id") else {}
        row |= {"lang": self.source, "translation": translation, "translation_lang": self.target}
        yield Entry(row, where)


def _table(path: Path, wanted: tuple[str, ...], faults: Faults) -> list[Row]:
    """Rows of a TSV without quoting, its first line the names of its columns.

    Raises:
        ValueError: a column that is wanted is not there.
    """
    rows = records(path, faults, quotes=False)
    where, header = next(rows, (f"{path}:1", []))
    if missing := [name for name in wanted if name not in header]:
        there = ", ".join(header) or "nothing"
        raise ValueError(f"{where}: no column {', '.join(missing)}; it has {there}")
    return [(where, dict(zip(header, values, strict=True))) for where, values in rows]
