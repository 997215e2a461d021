"""Sentence pairs for a small model: read, cleaned, the simplest first, some held out.

A table has two columns of sentences (more are left alone), plain or gzip, as Tatoeba's exports and
manythings.org have them. Simple is a pair whose rarest word is frequent; so a model of some
thousand pairs meets each word often.
"""

import gzip
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# What can be said as it is written: letters, spaces and the marks of a sentence.
_PLAIN = re.compile(r"[^\W\d_]+(?:(?:['’-]|[,.!?:;]* )[^\W\d_]+)*[.!?]*")


@dataclass(frozen=True)
class Pair:
    """A sentence to be spoken and its translation, as they are written."""

    source: str
    target: str

    @property
    def said(self) -> str:
        """What is heard of the source: its words in small letters, without marks."""
        return said(self.source)


def said(text: str) -> str:
    """Words of a text in small letters."""
    return " ".join(word.lower().replace("’", "'") for word in WORD.findall(text))


def read(path: Path, source: int, target: int) -> list[Pair]:
    """Read the pairs of a table that are plain sentences; each pair once.

    Raises:
        ValueError: no UTF-8, or a line that has no such columns, named.
    """
    pairs = {}
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split("\t")
        if len(fields) <= max(source, target):
            raise ValueError(
                f"{path}:{number}: wanted two sentences with a tab between, got {line[:60]!r}"
            )
        pair = Pair(*(" ".join(fields[k].split()) for k in (source, target)))
        if _PLAIN.fullmatch(pair.source) and _PLAIN.fullmatch(pair.target):
            pairs[pair] = None
    return list(pairs)


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: wanted a TSV file in UTF-8, plain or .gz: {error}") from None
    return [line for line in text.replace("\r", "").split("\n") if line.strip()]


def simplest(pairs: list[Pair], n: int) -> list[Pair]:
    """Choose the n pairs (0: all) whose rarest word, in either language, is the most frequent."""
    counts = [Counter(word for p in pairs for word in _words(p, side)) for side in (0, 1)]
    rarest = [min(counts[side][w] for side in (0, 1) for w in _words(p, side)) for p in pairs]
    order = np.argsort(-np.array(rarest), kind="stable")
    return [pairs[i] for i in order[: n or len(pairs)]]


def _words(pair: Pair, side: int) -> list[str]:
    return said(pair.target if side else pair.source).split()


def hold_out(
    pairs: list[Pair], sizes: dict[str, int], rng: np.random.Generator
) -> dict[str, list[Pair]]:
    """Choose pairs for each set, at random; no sentence, of either language, is in two of them."""
    firsts = different(pairs)
    chosen = iter([firsts[i] for i in rng.permutation(len(firsts))])
    sets: dict[str, list[Pair]] = {name: [] for name in sizes}
    targets = set()
    for name, size in sizes.items():
        while len(sets[name]) < size and (pair := next(chosen, None)):
            if said(pair.target) not in targets:
                sets[name].append(pair)
                targets.add(said(pair.target))
    return sets


def without(pairs: list[Pair], sets: list[list[Pair]]) -> list[Pair]:
    """Leave out each pair that has a sentence of the sets, in either language.

    Marks and capitals make no difference.
    """
    sources = {pair.said for one in sets for pair in one}
    targets = {said(pair.target) for one in sets for pair in one}
    return [p for p in pairs if p.said not in sources and said(p.target) not in targets]


def different(pairs: list[Pair]) -> list[Pair]:
    """Keep the first pair of each source sentence."""
    firsts: dict[str, Pair] = {}
    for pair in pairs:
        firsts.setdefault(pair.said, pair)
    return list(firsts.values())
