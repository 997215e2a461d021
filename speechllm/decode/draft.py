"""Speculative decoding from the CTC hypothesis: the head spells, the LLM checks many at once.

What the CTC head alone reads is a draft of what the LLM will say. The LLM reads several of its
tokens in one pass, takes those that it would have said itself, and one more of its own; so the
answer is the greedy one whatever the draft says, and a good draft makes it come sooner. After a
token of its own the draft is taken up where the answer has come to, by letters (`Draft.rest`).
Verification of drafts: Leviathan et al., arXiv 2211.17192; of a greedy search what agrees is kept.
"""

from collections.abc import Callable

import numpy as np

from speechllm.decode.answer import Ending
from speechllm.decode.filters import Allow, Line
from speechllm.models.reading import Reading

# Tokens read at once, at first and while a draft is right: 13 cost 1.3 of 1, and of drafts with an
# error in every fourth word 2.3 are right.
FIRST, MOST = 6, 20


class Draft:
    """A text that an answer may turn out to be.

    Args:
        text: of the hypothesis.
        spell: text -> tokens.
        read: tokens -> text.
        end: the token that ends an answer.
    """

    def __init__(
        self,
        text: str,
        spell: Callable[[str], list[int]],
        read: Callable[[list[int]], str],
        end: int,
    ):
        self.text, self.spell, self.read, self.end = text, spell, read, end
        self._letters = np.array([ord(c) for c in text.lower()], dtype=np.int64)
        self._costs = np.arange(len(text) + 1)  # edits from what is said to each beginning of it
        self._said = ""

    def rest(self, ids: list[int]) -> list[int]:
        """Give the tokens of what is left of the text when `ids` are said, its end too."""
        said = self.read(ids)
        if not said.startswith(self._said):  # a letter of several bytes was not complete
            self._costs, self._said = np.arange(len(self.text) + 1), ""
        for letter in said[len(self._said) :].lower():
            self._costs = self._row(ord(letter))
        self._said = said
        # Said "his hat", heard "hiss hat on": "hiss hat" is one edit away, other beginnings more.
        # Of several the one at a word's end: after "his" heard as "hizz" that is not "hiz".
        best = np.flatnonzero(self._costs == self._costs.min()).tolist()
        ends = [place for place in best if self.text[place : place + 1] in ("", " ")]
        left = self.text[(ends or best)[0] :]
        return [*(self.spell(left) if left.strip() else []), self.end]

    def _row(self, letter: int) -> np.ndarray:
        """Add a letter to what is said: one more row of Levenshtein's table."""
        old = self._costs
        changed = np.minimum(old[1:] + 1, old[:-1] + (self._letters != letter))
        row = np.concatenate([old[:1] + 1, changed])
        # a letter of the text left out costs 1 a step: row[j] = min over i <= j of row[i] + j - i
        steps = np.arange(len(row))
        return np.minimum.accumulate(row - steps) + steps


def search(reading: Reading, ending: Ending, allow: Allow, draft: Draft):
    """Search greedily in one line; yields the ids of each pass, returns the one answer."""
    ids: list[int] = []
    total, size, drafted = 0.0, FIRST // 2, []
    scores = reading.scores  # (k, V): after what is said, and after each token of the draft
    while True:
        taken = 0
        for place in range(len(scores)):
            own = scores[place : place + 1]
            id = int(allow(own, [Line(0, ids)]).argmax())
            ids.append(id)
            total += own[0, id].item()
            taken += 1
            why = ending.why(0, ids)
            if why or place == len(drafted) or id != drafted[place]:
                break
        yield [(0, id) for id in ids[-taken:]]
        if why:
            return [ending.close(ids, why, total)]
        right = taken > len(drafted)
        reading.back(len(drafted) - (taken - 1))
        size = min(2 * size, MOST) if right else FIRST
        room = min(size, ending.bounds[0] - len(ids) - 1, reading.most)
        drafted = draft.rest(ids)[: max(room, 0)]
        scores = reading.ahead([ids[-1], *drafted])
