"""What a CTC head spells with: letters, pieces of the LLM's vocabulary, or all of it.

    letters = " abc'"   these characters; a token of the LLM stands for each
    pieces = 500        tokens of the LLM: the letters a to z, "'", the space, then the earliest
                        pieces of its vocabulary that are made of them. A vocabulary that was made
                        by merging pairs (BPE) has its most frequent pieces first.

A text becomes units by the longest match from the left, as WordPiece does (Wu et al.,
arXiv 1609.08144); capitals match where no capital is a unit, what matches nothing is left out.
"""

import dataclasses
import functools
import string
from collections.abc import Iterable, Iterator

from speechllm.ranges import Size

SPACES = ("▁", "Ġ")  # how vocabularies write a space; it stands before the word it begins
LETTERS = " " + string.ascii_lowercase + "'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of an alphabet; neither: all tokens of the LLM, as its tokenizer spells."""

    letters: str = ""
    pieces: Size = 0

    def __post_init__(self):
        """Refuse letters that cannot be told apart, and pieces that are fewer than letters."""
        if len(set(self.letters)) < len(self.letters):
            raise ValueError(f"letters: wanted each once, got {self.letters!r}")
        if self.letters and self.pieces:
            raise ValueError(f"wanted letters or pieces, got {self.letters!r} and {self.pieces}")
        if 0 < self.pieces <= len(LETTERS):
            raise ValueError(
                f"pieces: wanted more than {len(LETTERS)}, the letters among them, or 0 for the "
                f"whole vocabulary, got {self.pieces}"
            )

    @property
    def size(self) -> int:
        """Number of units, 0 for the whole vocabulary."""
        return len(self.letters) or self.pieces

    def make(self, tokenizer=None) -> "Alphabet | None":
        """Make the alphabet with the tokens of a tokenizer; None for the whole vocabulary.

        Raises:
            ValueError: no token for a letter, fewer pieces than wanted; pieces and no tokenizer.
        """
        if not self.size:
            return None
        if self.letters:
            ids = () if tokenizer is None else _tokens(tokenizer, self.letters)
            return Alphabet(tuple(self.letters), tuple(ids))
        if tokenizer is None:
            raise ValueError(f"pieces = {self.pieces}: the model was built without a tokenizer")
        found = sorted((i, text) for text, i in _plain(tokenizer).items() if len(text) > 1)
        more = self.pieces - len(LETTERS)
        if len(found) < more:
            raise ValueError(
                f"pieces = {self.pieces}: the LLM's vocabulary has {len(found)} of more than one "
                f"letter a to z, so {len(found) + len(LETTERS)} at most"
            )
        ids = (*_tokens(tokenizer, LETTERS), *(i for i, _ in found[:more]))
        return Alphabet((*LETTERS, *(text for _, text in found[:more])), ids)


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """The units of a head, and how a text is spelled with them.

    Attributes:
        units: their texts; a space begins those that begin a word.
        ids: the token of the LLM that each is; () where no tokenizer was there to say.
    """

    units: tuple[str, ...]
    ids: tuple[int, ...]

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {unit: i for i, unit in enumerate(self.units)}

    def spell(self, text: str) -> list[int]:
        """Give the numbers of the units that a text becomes."""
        numbers = self._numbers
        longest = max(map(len, self.units))
        if longest > 1:  # a piece that begins a word begins with its space
            text = " " + text
        spelled, at = [], 0
        while at < len(text):
            for size in range(min(longest, len(text) - at), 0, -1):
                part = text[at : at + size]
                unit = part if part in numbers else part.lower()
                if unit in numbers:
                    spelled.append(numbers[unit])
                    break
            at += size
        return spelled

    def read(self, numbers) -> str:
        """Give the text that units, by their numbers, spell."""
        return "".join(self.units[i] for i in numbers).strip()


def _tokens(tokenizer, units: Iterable[str]) -> Iterator[int]:
    """Give the tokens that are a unit alone.

    Raises:
        ValueError: there is none.
    """
    vocab = tokenizer.get_vocab()  # once: a large one takes a fifth of a second
    for unit in units:
        written = (space + unit[1:] for space in SPACES) if unit[:1] == " " else ()
        known = next((vocab[piece] for piece in (*written, unit) if piece in vocab), None)
        yield _of_text(tokenizer, unit) if known is None else known


def _of_text(tokenizer, unit: str) -> int:
    ids = tokenizer(unit, add_special_tokens=False)["input_ids"]
    if not ids or ids[-1] == tokenizer.unk_token_id:
        raise ValueError(f"letters: the LLM's tokenizer has no token for {unit!r}")
    return ids[-1]


def _plain(tokenizer) -> dict[str, int]:
    """Give the tokens that are made of LETTERS alone, a space only as the first of them."""
    known, plain = set(LETTERS[1:]), {}
    for piece, i in tokenizer.get_vocab().items():
        text = " " + piece[1:] if piece[:1] in SPACES else piece
        if text and set(text[text[0] == " " :]) <= known:
            plain[text] = i
    return plain
