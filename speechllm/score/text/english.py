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
_ENDINGS = [
    (re.compile(pattern + r"\b"), replacement)
    for pattern, replacement in (
        *(("'d been", " had been"), ("'s been", " has been"), ("'d gone", " had gone")),
        *(("'s gone", " has gone"), ("'d done", " had done"), ("'s got", " has got")),
        *(
            ("n't", " not"),
            ("'re", " are"),
            ("'s", " is"),
            ("'d", " would"),
            ("'ll", " will"),
        ),
        *(("'t", " not"), ("'ve", " have"), ("'m", " am")),
    )
]


def _any_of(words) -> re.Pattern:
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")


_WORD, _TITLE = _any_of(_WORDS), _any_of(_TITLES)
_HESITATION = _any_of(("hmm", "mm", "mhm", "mmm", "uh", "um"))
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
    lines = (Path(__file__).parent / "spelling_en.tsv").read_text("utf-8").splitlines()
    return dict(line.split("\t") for line in lines if not line.startswith("#"))


def english(text: str) -> str:
    """Whisper's English normalisation of one text."""
    text = _HESITATION.sub("", without_remarks(text))
    text = re.sub(r"\s+'", "'", text)
    text = _WORD.sub(lambda m: _WORDS[m[0]], text)
    text = _TITLE.sub(lambda m: _TITLES[m[0]], text)
    if "'" in text:
        for pattern, replacement in _ENDINGS:
            text = pattern.sub(replacement, text)
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    text = unicodedata.normalize("NFKD", text).translate(_FOLDED)
    if _DIGIT.search(text) or not number_words.TRIGGERS.isdisjoint(text.split()):
        text = numbers.figures(text)
    american = spelling()
    text = " ".join([american.get(word, word) for word in text.split()])
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    text = re.sub(r"([^0-9])%", r"\1 ", text)
    return _SPACES.sub(" ", text)
