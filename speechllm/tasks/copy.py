"""Noisy copying: a corrupted sentence in, the sentence out. The text stage of a small LLM.

A small LLM trained on plain text alone answers from its prior and does not look at its prompt. One
that has learned to copy, through noise and where no prior helps (random strings), needs only soft
tokens that look like text. Corruption imitates what an adapter's soft tokens do: units repeated,
dropped, replaced.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Config:
    """Shares of the three kinds of example, and how strong the noise is (chance a character)."""

    noise: float = 0.1
    random_share: float = 0.2
    plain_share: float = 0.25
    prompt: tuple[str, ...] = ("",)

    metric = "wer"

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a text row into messages; without `rng` (validation) a clean copy is wanted."""
        text = row["text"]
        if rng is None:
            return self._copy(text, text)
        kind = rng.random()
        if kind < self.plain_share:
            return [{"role": "assistant", "content": text}]
        if kind < self.plain_share + self.random_share:
            text = random_words(_letters(text), rng)
        return self._copy(corrupt(text, self.noise, rng), text)

    def _copy(self, shown: str, text: str) -> list[dict]:
        content = [{"type": "text", "text": shown + self.prompt[0]}]
        return [{"role": "user", "content": content}, {"role": "assistant", "content": text}]


def corrupt(text: str, noise: float, rng: np.random.Generator) -> str:
    """Delete, replace, double or insert characters, each with a chance of `noise` / 4."""
    out, letters = [], _letters(text)
    draws = rng.random(len(text)) * 4
    for char, draw in zip(text, draws, strict=True):
        letter = letters[int(rng.integers(len(letters)))]
        if draw >= noise * 4:
            out.append(char)
        elif draw >= noise * 3:
            out.append(char + char)
        elif draw >= noise * 2:
            out.append(letter)
        elif draw >= noise:
            out.append(char + letter)
    return "".join(out) or text


def random_words(letters: list[str], rng: np.random.Generator) -> str:
    """Make a string of 3 to 10 words of random letters, which no prior can guess."""
    lengths = rng.integers(2, 8, size=rng.integers(3, 11))
    return " ".join("".join(rng.choice(letters, size=n)) for n in lengths)


def _letters(text: str) -> list[str]:
    """List the letters of a text: the tokenizer is sure to know them, in any script and case."""
    return sorted(set(text) - {" "}) or ["a"]
