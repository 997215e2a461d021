"""Alphabets: what a CTC head spells with, and how a text becomes its units."""

import pytest

from speechllm.models.alphabet import LETTERS, Alphabet, Config


class Tokenizer:
    """A vocabulary of pieces in the order of their merges."""

    unk_token_id = 0

    def __init__(self, pieces):
        self.pieces = pieces

    def get_vocab(self):
        return {piece: i for i, piece in enumerate(self.pieces)}


LATER = ["▁the", "in", "ing", "▁Th", "é", "▁▁", "th", "▁thin"]
TOKENIZER = Tokenizer(["<unk>", "▁", *LETTERS[1:], *LATER])


def test_pieces_are_the_earliest_of_small_letters():
    """Letters first; capitals, accents and runs of spaces are no units."""
    alphabet = Config(pieces=len(LETTERS) + 4).make(TOKENIZER)
    assert alphabet.units == (*LETTERS, " the", "in", "ing", "th")
    assert [TOKENIZER.pieces[i] for i in alphabet.ids[-4:]] == ["▁the", "in", "ing", "th"]
    assert TOKENIZER.pieces[alphabet.ids[0]] == "▁"


def test_a_text_becomes_its_longest_units_and_is_read_back():
    """By hand; what has no unit is left out."""
    alphabet = Config(pieces=len(LETTERS) + 4).make(TOKENIZER)
    spelled = alphabet.spell("THE thing's")
    assert [alphabet.units[i] for i in spelled] == [" the", " ", "th", "ing", "'", "s"]
    assert alphabet.read(spelled) == "the thing's"
    assert alphabet.read(alphabet.spell("thé")) == "th"
    letters = Alphabet(tuple("Aab "), ())
    assert letters.spell("A B-a") == [0, 3, 2, 1]


def test_what_cannot_be_made_is_refused():
    """Too few pieces, letters twice, both at once, no tokenizer."""
    with pytest.raises(ValueError, match=r"has 5 of more than one letter a to z, so 33 at most"):
        Config(pieces=40).make(TOKENIZER)
    with pytest.raises(ValueError, match="built without a tokenizer"):
        Config(pieces=40).make()
    with pytest.raises(ValueError, match="wanted each once"):
        Config(letters="aa")
    with pytest.raises(ValueError, match="wanted letters or pieces"):
        Config(letters="a", pieces=40)
    with pytest.raises(ValueError, match="wanted more than 28"):
        Config(pieces=28)
