"""Whisper's English text rules: contractions, titles, figures, American spelling, no symbols.

Equal, character by character, to transformers' `EnglishTextNormalizer` with Whisper's spelling map
(the tests hold it against that class), but written for speed: rules that cannot collide run as one
pattern, a step whose trigger is absent is skipped, and characters go through one cached table.

Source: Radford et al. 2022, appendix C; rules from transformers 5 (Apache-2.0) and
openai-whisper (MIT, see `spelling_en.tsv`).
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechllm.score.text import number_words, numbers

# Letters that NFKD does not take apart.
_LETTERS = {
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "Æ": "AE",
    "ß": "ss",
    "ẞ": "SS",
}
_LETTERS |= {
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "th",
    "ł": "l",
    "Ł": "L",
}

_WORDS = {
    **{"won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint"},
    **{"y'all": "you all", "wanna": "want to", "gotta": "got to", "gonna": "going to"},
    **{"i'ma": "i am going to", "imma": "i am going to", "woulda": "would have"},
    **{"coulda": "could have", "shoulda": "should have", "ma'am": "madam"},
}
_TITLES = {
    **{
        "mr": "mister ",
        "mrs": "missus ",
        "st": "saint ",
        "dr": "doctor ",
        "prof": "professor ",
    },
    **{"capt": "captain ", "gov": "governor ", "ald": "alderman ", "gen": "general "},
    **{
        "sen": "senator ",
        "rep": "representative ",
        "pres": "president ",
        "rev": "reverend ",
    },
    **{
        "hon": "honorable ",
        "asst": "assistant ",
        "assoc": "associate ",
        "lt": "lieutenant ",
    },
    **{"col": "colonel ", "jr": "junior ", "sr": "senior ", "esq": "esquire "},
}
# One after the other: "'d been" must come before "'d", and "n't" can uncover a "'d".
_BEFORE_IS = (
    *(("'d been", " had been"), ("'s been", " has been"), ("'d gone", " had gone")),
    *(("'s gone", " has gone"), ("'d done", " had done"), ("'s got", " has got")),
    *(("n't", " not"), ("'re", " are")),
)
_AFTER_IS = (("'d", " would"), ("'ll", " will"), ("'t", " not"), ("'ve", " have"), ("'m", " am"))


def _any_of(words) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")


_WORD, _TITLE = _any_of(_WORDS), _any_of(_TITLES)
_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESES = re.compile(r"\(([^)]+?)\)")
_SPACES = re.compile(r"\s+")
_DIGIT = re.compile(r"\d")


class _Plain(dict):
    """Table for `str.translate` that fills itself: code point -> what is left of the character."""

    def __init__(self, keep: str = "", fold: bool = False, spaced: str = "MSP"):
        super().__init__()
        self.keep, self.fold, self.spaced = keep, fold, spaced

    def __missing__(self, code: int) -> str:
        self[code] = text = self._of(chr(code))
        return text

    def _of(self, char: str) -> str:
        category = unicodedata.category(char)
        if char in self.keep:
            return char
        if self.fold and char in _LETTERS:
            return _LETTERS[char]
        if self.fold and category == "Mn":
            return ""
        return " " if category[0] in self.spaced else char


_FOLDED = _Plain(keep=".%$¢€£", fold=True)
_UNMARKED = _Plain()
_MARKED = _Plain(spaced="SP")


def without_remarks(text: str) -> str:
    """Lower the case and drop what stands in brackets or parentheses, as [noise] or (laughs)."""
    return _PARENTHESES.sub("", _BRACKETS.sub("", text.lower()))


def basic(text: str) -> str:
    """Lower case, no remarks, each mark, symbol and punctuation sign a space; letters stay as is.

    Equal to transformers' `BasicTextNormalizer()`; for any language. Marks (category M) become
    spaces too, which breaks words of scripts that write vowels with them, such as Devanagari.
    """
    return _plain(text, _UNMARKED)


def basic_marks(text: str) -> str:
    """As `basic`, but combining marks stay: for scripts that write vowels and tones with them."""
    return _plain(text, _MARKED)


def _plain(text: str, table: _Plain) -> str:
    text = unicodedata.normalize("NFKC", without_remarks(text)).translate(table).lower()
    return _SPACES.sub(" ", text)


def marks(text: str) -> int:
    """Count the combining marks that no composed letter takes in."""
    if text.isascii():
        return 0
    return sum(unicodedata.category(c)[0] == "M" for c in unicodedata.normalize("NFKC", text))


def not_english(text: str) -> int:
    """Count letters and marks that English is not written with."""
    return 0 if text.isascii() else sum(not c.isascii() and written(c) for c in text)


def written(char: str) -> bool:
    """Tell whether a character is a letter or a mark: what words are written with."""
    return unicodedata.category(char)[0] in "LM"


@functools.cache
def spelling() -> dict[str, str]:
    """British to American spelling, from `spelling_en.tsv`."""
    return dict(table("spelling_en.tsv"))


def table(name: str) -> list[list[str]]:
    """Rows of a table of this folder."""
    lines = (Path(__file__).parent / name).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def unchanged(text: str) -> str:
    """Leave a text as it is."""
    return text


@dataclass(frozen=True)
class Rules:
    """In what sets of English rules differ.

    Attributes:
        fillers: what is said while thinking, and goes.
        is_: pattern and replacement of the ending 's that stands for "is".
        words: word by word, what is written instead; a function, as tables are read when needed.
        before_numbers, after_words: further rules, of texts without symbols.
    """

    fillers: Sequence[str]
    is_: tuple[str, str]
    words: Callable[[], dict[str, str]]
    before_numbers: Callable[[str], str] = unchanged
    after_words: Callable[[str], str] = unchanged

    @functools.cached_property
    def filler(self) -> re.Pattern:
        """Pattern of the fillers."""
        return _any_of(self.fillers)

    @functools.cached_property
    def endings(self) -> list[tuple[re.Pattern, str]]:
        """Contracted endings, in the order in which they are written out."""
        rules = (*_BEFORE_IS, self.is_, *_AFTER_IS)
        return [(re.compile(pattern + r"\b"), replacement) for pattern, replacement in rules]


WHISPER = Rules(("hmm", "mm", "mhm", "mmm", "uh", "um"), ("'s", " is"), spelling)


def english(text: str, rules: Rules = WHISPER) -> str:
    """Whisper's English normalisation of one text, or another by the same steps."""
    text = rules.filler.sub("", without_remarks(text))
    text = re.sub(r"\s+'", "'", text)
    text = _WORD.sub(lambda m: _WORDS[m[0]], text)
    text = _TITLE.sub(lambda m: _TITLES[m[0]], text)
    if "'" in text:
        for pattern, replacement in rules.endings:
            text = pattern.sub(replacement, text)
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    text = unicodedata.normalize("NFKD", text).translate(_FOLDED)
    text = rules.before_numbers(text)
    if _DIGIT.search(text) or not number_words.TRIGGERS.isdisjoint(text.split()):
        text = numbers.figures(text)
    instead = rules.words()
    text = rules.after_words(" ".join([instead.get(word, word) for word in text.split()]))
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    text = re.sub(r"([^0-9])%", r"\1 ", text)
    return _SPACES.sub(" ", text)
