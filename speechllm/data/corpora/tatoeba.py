"""Sentence pairs, spoken: a corpus of speech translation from any table of two columns.

espeak-ng speaks one side of the pairs in many voices (those of the corpus mini; 16 kHz FLAC, rooms
and mild noise); the other side is the translation. Voices and sentences of dev and test are never
in train, nor in the text, in either language. Written are `train.jsonl`, `dev.jsonl`, `test.jsonl`
and, for the LLM's text phase, `text.jsonl` and `text_dev.jsonl`: pairs alone. `text` is what is
said, in small letters and without marks, `translation` is as it was written. The same options give
the same bytes.

    speechllm data prepare tatoeba --corpus eng-deu.tsv.gz --columns en de --out data/en_de
    speechllm data prepare tatoeba --corpus eng-deu.tsv.gz --source de --out data/de_en

Pairs: https://tatoeba.org (CC BY 2.0 FR), or https://www.manythings.org/anki.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechllm import files
from speechllm.data import manifest
from speechllm.data.corpora import _cast, _pairs, _speech
from speechllm.data.corpora._build import folder_of
from speechllm.data.corpora._cast import Utterance, cast
from speechllm.data.corpora._pairs import Pair
from speechllm.tasks import languages

SPLITS = ("train", "dev", "test", "text", "text_dev")
VERSION = 1  # of what is made; raise it with any change of sentences, voices or sound
SHARDS = {"train": 6, "dev": 1, "test": 1}  # a fresh process each; more would give other bytes
# Where espeak-ng has several accents; a language that is not here has the one of its code.
ACCENTS = {"en": _cast.ACCENTS, "fr": ("fr-fr", "fr-be", "fr-ch"), "es": ("es", "es-419")}


@dataclass(frozen=True, kw_only=True)
class Config(_speech.Settings):
    """Options: the languages of the two columns, which of them is spoken, how much of it.

    n_pairs: the simplest pairs, of which the speech is; hours: of speech in train, from as many of
    them as it takes; n_text: the simplest pairs for the LLM's text phase, 0: all.
    """

    corpus: str
    out: str = "data/tatoeba"
    columns: tuple[str, ...] = ("en", "de")
    source: str = ""
    n_pairs: int = 12000
    hours: float = 2.5
    n_text: int = 24000
    n_dev: int = 200
    n_test: int = 400

    def prepare(self) -> dict[str, Path]:
        """Make the corpus under `out`, or return at once where it is; manifests by name.

        Raises ValueError for options that make no sense, unknown languages, a table that is none.
        """
        table = folder_of(self.corpus, "a table of two columns, .tsv or .tsv.gz")
        source, target = self._languages()
        _check(self)
        out = Path(self.out).absolute()
        manifests = {name: out / f"{name}.jsonl" for name in SPLITS}
        digest = files.digest(table)
        mark = _speech.Mark(out, VERSION, replace(self, corpus=digest))
        if mark.is_there() and all(path.exists() for path in manifests.values()):
            return manifests
        mark.remove()
        rng = np.random.default_rng(self.seed)
        sides = [self._codes().index(code) for code in (source, target)]
        sets = self._choose(_pairs.read(table, *sides), rng)
        accents = ACCENTS.get(source, (source,))
        casts = {
            split: cast(split, [p.source for p in sets[split]], rng, accents=accents)
            for split in SHARDS
        }
        rows = _speech.speak(self, casts, SHARDS, out, _crowd)
        for name, path in manifests.items():
            there = rows.get(name) or [{"id": f"{name}-{k:06d}"} for k in range(len(sets[name]))]
            spoken = zip(there, sets[name], strict=True)
            manifest.write(path, [_row(row, pair, source, target) for row, pair in spoken])
        mark.write()
        return manifests

    def _choose(self, pairs: list[Pair], rng: np.random.Generator) -> dict[str, list[Pair]]:
        """Choose the pairs of each set."""
        pairs = _pairs.simplest(pairs, self.n_text and max(self.n_text, self.n_pairs))
        simple = pairs[: self.n_pairs]
        sets = _pairs.hold_out(simple, {"dev": self.n_dev, "test": self.n_test}, rng)
        held = list(sets.values())
        sets["train"] = _spoken(_pairs.without(simple, held), self.hours, rng)
        sets["text"], sets["text_dev"] = _pairs.without(pairs, held), sets["dev"]
        return sets

    def _codes(self) -> list[str]:
        return [languages.code(column) for column in self.columns]

    def _languages(self) -> tuple[str, str]:
        """Codes of what is spoken and of what it is translated into."""
        codes = self._codes()
        if len(codes) != 2 or codes[0] == codes[1]:
            raise ValueError(
                f"columns: wanted two languages, as en de, got {' '.join(self.columns)}"
            )
        source = languages.code(self.source) if self.source else codes[0]
        if source not in codes:
            raise ValueError(
                f"source is {self.source!r}, but the columns are {codes[0]} and {codes[1]}; "
                "name one of them, or say with columns what they are"
            )
        return source, codes[1 - codes.index(source)]


def _check(config: Config) -> None:
    if config.hours <= 0 or min(config.n_dev, config.n_test) < 1 or config.n_pairs < 1:
        raise ValueError(f"wanted hours, n_pairs, n_dev and n_test above 0, got {config}")
    _speech.check(config)


def _spoken(pairs: list[Pair], hours: float, rng: np.random.Generator) -> list[Pair]:
    """Choose pairs of different source sentences at random, until they last so long.

    Raises:
        ValueError: there are no pairs.
    """
    if not pairs:
        raise ValueError("no pairs are left for training; ask for more n_pairs, or less held out")
    different = _pairs.different(pairs)
    chosen, seconds = [], 0.0
    for i in rng.permutation(len(different)):
        if seconds >= hours * 3600:
            break
        chosen.append(different[i])
        seconds += Utterance("", chosen[-1].source, "", 170, 50, 50).expected_s
    return chosen


def _crowd(_: str, utterances: list[Utterance], rng: np.random.Generator) -> list[Utterance]:
    """A dozen utterances of the same set, for babble."""
    return [utterances[int(i)] for i in rng.integers(len(utterances), size=12)]


def _row(row: dict[str, Any], pair: Pair, source: str, target: str) -> dict[str, Any]:
    texts = {"text": pair.said, "lang": source}
    return row | texts | {"translation": pair.target, "translation_lang": target}
