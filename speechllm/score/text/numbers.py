"""English number words as figures: "twenty one dollars and five cents" -> "$21.05".

What the number rules of Whisper's English normaliser do, oddities included, because published word
error rates were counted through them ("and a half of it" at the start loses its "and a half").
Written anew as a small machine: each kind of word has one method, `value` is the number read so far
(an int while it can still grow by arithmetic, a str once digits were only strung together).

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision",
appendix C; the same words and order of rules as `EnglishNumberNormalizer` in transformers 5,
against which the tests hold this file.
"""

import re
from fractions import Fraction

from speechllm.score.text.number_words import (
    CURRENCIES,
    DECIMALS,
    KIND,
    MULTIPLIERS,
    MULTIPLIERS_SUFFIXED,
    ONES,
    ONES_SUFFIXED,
    PREFIXES,
    SIGNS,
    TENS,
    TENS_SUFFIXED,
    ZEROS,
)

FIGURE = re.compile(r"^\d+(\.\d+)?$")


class _Reader:
    """Reads one sentence word by word; `out` collects what is settled."""

    def __init__(self, words: list[str]):
        self.words = words
        self.out: list[str] = []
        self.prefix = ""
        self.value: int | str | None = None

    def read(self) -> list[str]:
        skip = False
        for i, word in enumerate(self.words):
            if skip:
                skip = False
                continue
            self.prev = self.words[i - 1] if i else None
            self.next = self.words[i + 1] if i + 1 < len(self.words) else None
            skip = bool(self._step(word))
        self._flush()
        return self.out

    def _step(self, word: str) -> bool | None:
        """Handle one word; True if it has used up the next word as well."""
        bare = word[1:] if word[0] in PREFIXES else word
        if FIGURE.match(bare):
            return self._figure(word, bare)
        kind = KIND.get(word)
        if kind is None:
            self._flush()
            return self._put(word)
        return getattr(self, "_" + kind)(word)

    def _put(self, text: int | str) -> None:
        self.out.append(f"{self.prefix}{text}")
        self.value, self.prefix = None, ""

    def _flush(self) -> None:
        if self.value is not None:
            self._put(self.value)

    def _numeric_follows(self) -> bool:
        return self.next is not None and (self.next in KIND or bool(FIGURE.match(self.next)))

    def _figure(self, word: str, bare: str) -> None:
        """Take a figure, joined to "12." where one stands before it."""
        if isinstance(self.value, str) and self.value.endswith("."):
            self.value += word
            return
        self._flush()
        if bare != word:
            self.prefix = word[0]
        number = Fraction(bare)
        self.value = number.numerator if number.denominator == 1 else bare

    def _zero(self, word: str) -> None:
        self.value = str(self.value or "") + "0"

    def _with_one(self, number: int) -> int | str:
        """The value with one..nineteen behind it: added where a zero waits for it, else strung."""
        # "twenty five" 20 + 5; "one hundred twelve" 100 + 12; "twenty twelve" is strung: 2012;
        # "nineteen seventy five": 1970 is a str by then, and its last zero gives way to the 5
        value = self.value
        if value is None:
            return number
        if isinstance(value, str) or self.prev in ONES:
            if self.prev in TENS and number < 10:
                return str(value)[:-1] + str(number)
            return f"{value}{number}"
        return value + number if value % (10 if number < 10 else 100) == 0 else f"{value}{number}"

    def _with_ten(self, number: int) -> int | str:
        """The value with twenty..ninety behind it."""
        if self.value is None:
            return number
        fits = not isinstance(self.value, str) and self.value % 100 == 0
        return self.value + number if fits else f"{self.value}{number}"

    def _one(self, word: str) -> None:
        self.value = self._with_one(ONES[word])

    def _one_suffixed(self, word: str) -> None:
        number, suffix = ONES_SUFFIXED[word]
        self._put(f"{self._with_one(number)}{suffix}")

    def _ten(self, word: str) -> None:
        self.value = self._with_ten(TENS[word])

    def _ten_suffixed(self, word: str) -> None:
        number, suffix = TENS_SUFFIXED[word]
        self._put(f"{self._with_ten(number)}{suffix}")

    def _multiply(self, factor: int, through_fraction: bool) -> None:
        """Multiply what was read since the last thousand; what cannot be multiplied is put out."""
        if self.value is None:
            self.value = factor
        elif through_fraction:
            try:
                product = Fraction(self.value) * factor
            except ValueError:
                product = None
            if product is None or product.denominator != 1:
                self._put(self.value)
                self.value = factor
            else:
                self.value = product.numerator
        else:
            # "two thousand three hundred": of 2003, the 2000 stay and the 3 becomes 300
            self.value = self.value // 1000 * 1000 + self.value % 1000 * factor

    def _multiplier(self, word: str) -> None:
        self._multiply(MULTIPLIERS[word], isinstance(self.value, str) or self.value == 0)

    def _multiplier_suffixed(self, word: str) -> None:
        factor, suffix = MULTIPLIERS_SUFFIXED[word]
        self._multiply(factor, isinstance(self.value, str))
        self._put(f"{self.value}{suffix}")

    def _sign(self, word: str) -> None:
        self._flush()
        if self._numeric_follows():
            self.prefix = SIGNS[word]
        else:
            self._put(word)

    def _currency(self, word: str) -> None:
        if self.value is None:
            self._put(word)
        else:
            self.prefix = CURRENCIES[word]
            self._flush()

    def _percent(self, word: str) -> bool:
        whole = word == "percent" or self.next == "cent"
        if self.value is not None and whole:
            self._put(f"{self.value}%")
            return word == "per"  # and "cent" behind it is used up
        self._flush()
        self._put(word)
        return False

    def _special(self, word: str) -> bool | None:
        if not self._numeric_follows():
            self._flush()
            return self._put(word)
        return getattr(self, "_" + word)(word)

    def _and(self, word: str) -> None:
        if self.prev not in MULTIPLIERS:
            self._flush()
            self._put(word)

    def _double(self, word: str) -> bool:
        if self.next not in ONES and self.next not in ZEROS:
            self._flush()
            self._put(word)
            return False
        times = 2 if word == "double" else 3
        self.value = str(self.value or "") + str(ONES.get(self.next, 0)) * times
        return True

    _triple = _double

    def _point(self, word: str) -> None:
        if self.next in DECIMALS or FIGURE.match(self.next):
            self.value = str(self.value or "") + "."


def _halves(text: str) -> str:
    """Turn "two and a half" into "two point five"."""
    *heads, tail = re.split(r"\band\s+a\s+half\b", text)
    parts = []
    for head in heads:
        if head.strip():
            last = head.rsplit(maxsplit=2)[-1]
            parts += [
                head,
                "point five" if last in DECIMALS | set(MULTIPLIERS) else "and a half",
            ]
    return " ".join([*parts, *([tail] if tail.strip() else [])])


def figures(text: str) -> str:
    """Write the number words of a lower-case text as figures; "1" alone stays "one"."""
    text = _halves(text)
    # figures apart from letters, so that the reader sees them: "b2b" -> "b 2 b", "1 st" -> "1st"
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    text = re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)
    text = " ".join(_Reader(text.split()).read())
    # "$2 and ¢5" -> "$2.05", "$0.05" -> "¢5"
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", _join_cents, text)
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda m: f"¢{int(m[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


def _join_cents(match: re.Match) -> str:
    return f"{match[1]}{match[2]}.{int(match[3]):02d}"
