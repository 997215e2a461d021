"""Which normaliser for which row: the one asked for, else the one that its language wants.

English has `whisper-en`, every other language `basic`; a language whose references are written with
combining marks has `basic-marks`, as `basic` would take its words apart. Rows that do not say their
language are taken for English where they are written as English is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from speechllm.score.text import english, normalise
from speechllm.score.text.normalise import Normaliser

ENGLISH = ("en", "eng", "english")
UNSAID = ("und", "mul", "mis", "zxx")  # codes for: not known, several, none of the list, none
CONTRACTING = ("whisper-en", "open-asr")  # contractions are written out, if with a straight '
FOREIGN = 0.005  # share of letters that are not of English, from which on a text is in another one
MARKED = 0.01  # share of combining marks, from which on they are how a language is written
WARNED = 0.005  # share of characters that a normaliser spoils, from which on it is said
MISLABELLED = 0.01  # the same, of a language's own normaliser: rows of translations, say


@dataclass(frozen=True)
class Choice:
    """A normaliser for each language, "" where rows do not say; and what is to be said of it."""

    normalisers: Mapping[str, Normaliser]
    warnings: tuple[str, ...] = ()

    @cached_property
    def _cached(self) -> dict[str, Callable[[str], str]]:
        # Commands and digits repeat, and a reference is often its hypothesis.
        caches = {n.name: lru_cache(maxsize=4096)(n) for n in self.normalisers.values()}
        return {lang: caches[n.name] for lang, n in self.normalisers.items()}

    def clean(self, text: str, lang: str) -> str:
        """Normalise a text of a row, and its white space."""
        return " ".join(self._cached[language(lang)](text).split())

    @property
    def signature(self) -> str:
        """Name and version; of several, each with its languages: "basic:1(de)+whisper-en:1(en)"."""
        languages: dict[str, list[str]] = {}
        for lang, one in sorted(self.normalisers.items()):
            languages.setdefault(one.signature, []).append(lang or "?")
        if len(languages) == 1:
            return next(iter(languages))
        return "+".join(f"{name}({','.join(of)})" for name, of in sorted(languages.items()))


def language(lang: str) -> str:
    """Main part of a language's code, in lower case: "pt" of "pt-BR"; "" where it says nothing."""
    main = re.split(r"[\W_]+", lang.strip().lower())[0]
    return "" if main in UNSAID else main


def choose(name: str, utterances: Sequence) -> Choice:
    """Choose a normaliser for each language of these utterances; `name` "" leaves it to them.

    Raises:
        ValueError: there is no normaliser called `name`.
    """
    texts: dict[str, list[str]] = {}
    for one in utterances:
        texts.setdefault(language(one.lang), []).extend(one.refs)
    normalisers = {
        lang: normalise.get(name or _by_language(lang, refs)) for lang, refs in texts.items()
    }
    warnings = []
    if not name and (unsaid := normalisers.get("")) and unsaid.name != "whisper-en":
        warnings.append(
            f"the rows do not say their 'lang' and are not written as English is: scored with "
            f"{unsaid.name}; --lang says which language it is, --normaliser what to do"
        )
    for lang, refs in texts.items():
        used, better = normalisers[lang], _by_language(lang, refs)
        share = _share(refs, used.loses)
        if share >= (WARNED if better != used.name else MISLABELLED):
            where, keeps = f" in {lang}" if lang else "", better if better != used.name else "basic"
            warnings.append(
                f"{used.name} takes {100 * share:.1f} % of the characters out of the references"
                f"{where}, so that wrong words may count as right; --normaliser {keeps} keeps them"
            )
    return Choice(normalisers, tuple(warnings + _typographic(normalisers, utterances)))


def _typographic(normalisers: dict, utterances: Sequence) -> list[str]:
    """Say where an apostrophe is curly on one side alone: contractions are known straight."""
    english_rows = (u for u in utterances if normalisers[language(u.lang)].name in CONTRACTING)
    apart = sum(("’" in "".join(u.refs)) != ("’" in u.hyp) for u in english_rows)
    if not apart:
        return []
    return [
        f"{apart} utterances have the apostrophe ’ in the reference or the hypothesis alone: "
        "don’t and don't are different words to this normaliser; write one of them in both"
    ]


def _by_language(lang: str, refs: Sequence[str]) -> str:
    if lang in ENGLISH or (not lang and _share(refs, english.not_english) < FOREIGN):
        return "whisper-en"
    return "basic-marks" if _share(refs, english.marks) >= MARKED else "basic"


def _share(texts: Iterable[str], count) -> float:
    """Share of the characters that words are written with, of all texts together."""
    counted = written = 0
    for text in texts:
        counted += count(text)
        ascii_only = text.isascii()
        written += len(text) if ascii_only else sum(map(english.written, text))
    return counted / written if written else 0.0
