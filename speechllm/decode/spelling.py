"""What the pieces of an LLM's tokenizer are in the units of a CTC head: letters, or these pieces.

A head of letters was trained on texts of its letters alone (`models/alphabet.py`), so a
piece is spelled likewise: in small letters where the head has no capitals, without what it does not
know, and with one space between words and none in front.
"""

import functools
import re
from collections.abc import Iterator, Sequence

import torch

from speechllm.models.alphabet import Alphabet

LONGEST = 16  # letters of a piece that is looked for by what is heard next


class Pieces:
    """A head whose units are the LLM's own pieces.

    Args:
        tokenizer: of the LLM.
    """

    def __init__(self, tokenizer):
        self._size, self._strange = len(tokenizer), sorted(tokenizer.all_special_ids)

    @functools.cache  # noqa: B019  # it lives as long as its decode
    def strange(self, size: int) -> torch.Tensor:
        """Say which of the LLM's pieces are never written, (V,)."""
        found = torch.zeros(size, dtype=torch.bool)
        found[self._strange] = True
        found[self._size :] = True
        return found

    def units(self, id: int, last: int) -> tuple[int, ...]:
        """The units of a piece after a text that ends in unit `last`, -1 for none."""
        return (id,)

    def whole(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The units of a whole text, by its pieces."""
        units: list[int] = []
        for id in ids:
            units += self.units(id, units[-1] if units else -1)
        return tuple(units)

    def writable(self, id: int, last: int) -> bool:
        """Say whether a piece may follow a text that ends in unit `last`, -1 for none."""
        return True

    def starts(self, units: Sequence[int], last: int) -> Iterator[torch.Tensor]:
        """Yield pieces (k,) that begin these units: those of one spelling together."""
        yield torch.tensor(units[:1])


class Subwords(Pieces):
    """A head of some of the LLM's pieces, by the longest match (`models/alphabet.py`).

    It scores whole texts alone: what a beginning is in its units depends on the letters to come.
    """

    def __init__(self, tokenizer, alphabet: Alphabet):
        super().__init__(tokenizer)
        self.tokenizer, self.alphabet = tokenizer, alphabet

    def whole(self, ids: Sequence[int]) -> tuple[int, ...]:
        """See `Pieces.whole`."""
        text = self.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return tuple(self.alphabet.spell(text)) if text else ()


class Letters(Pieces):
    """A head whose units are letters.

    Args:
        tokenizer: of the LLM.
        letters: of the head, in its order.
        alone: what has anything else in it, as a line's end or a figure, is not written: the head
            has no say in it, so an LLM that hears nothing would write it at no cost.
    """

    def __init__(self, tokenizer, letters: str, alone: bool = False):
        super().__init__(tokenizer)
        self.letters = letters
        self.space = letters.find(" ") if " " in letters else None
        texts = [re.sub(" +", " ", text) for text in _texts(tokenizer)]
        self._strange = [id for id, text in enumerate(texts)
                         if not text or alone and set(text) - {*letters}]  # fmt: skip
        alphabet = Alphabet(tuple(letters), ())
        self.spelled = [tuple(alphabet.spell(text)) for text in texts]
        known: dict[tuple, list[int]] = {}
        for id in sorted({*range(len(texts))} - {*self._strange}):
            units = self.spelled[id]
            if 0 < len(units) <= LONGEST:
                known.setdefault(units, []).append(id)
        # a tensor each: thousands are a space to a head that knows no letter of theirs
        self.known = {units: torch.tensor(ids) for units, ids in known.items()}

    def units(self, id: int, last: int) -> tuple[int, ...]:
        """See `Pieces.units`; what the head does not know has none."""
        units = self.spelled[id]
        return units[1:] if units[:1] == (self.space,) and last == -1 else units

    def writable(self, id: int, last: int) -> bool:
        """See `Pieces.writable`: no second space, and none alone in front."""
        units = self.spelled[id]
        first = last == -1 and len(units) == 1
        return not (units[:1] == (self.space,) and (last == self.space or first))

    def starts(self, units: Sequence[int], last: int) -> Iterator[torch.Tensor]:
        """See `Pieces.starts`; at the beginning of a text pieces with a space before it too."""
        begun = [(), (self.space,)] if last == -1 else [()]
        for n in range(1, min(len(units), LONGEST) + 1):
            spellings = (before + tuple(units[:n]) for before in begun)
            found = [self.known[spelling] for spelling in spellings if spelling in self.known]
            if found:
                yield found[0] if len(found) == 1 else torch.cat(found)


def _texts(tokenizer) -> list[str]:
    """What each piece says inside of a text, "" of special ones."""
    # Read behind another piece: alone, or first, many tokenizers take its space away.
    size = len(tokenizer)
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    first = next(id for id in range(size) if tokenizer.decode([id], **options).isalnum())
    before = len(tokenizer.decode([first], **options))
    pairs = [[first, id] for id in range(size)]
    return [text[before:] for text in tokenizer.batch_decode(pairs, **options)]
