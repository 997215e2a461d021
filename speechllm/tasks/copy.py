"""Noisy copying: a corrupted sentence in, the sentence out. The text phase of a small LLM.

A small LLM trained on plain text alone answers from its prior and does not look at its prompt. One
that has learned to copy, through noise and where no prior helps (random strings), needs only soft
tokens that look like text. Corruption imitates what an adapter's soft tokens do: units repeated,
dropped, replaced.
"""

from dataclasses import dataclass

import numpy as np

from speechllm.ranges import Share


@dataclass(frozen=True)
class Config:
    """Shares of random strings and plain text, the rest copies; noise is the chance a word.

    span: (least, most) takes a run of that many words, anew each time, short ones as often as long
    ones: from short ones copying is learned first. A most of 0 is all words; (0, 0) takes the text
    as it is, as does validation.
    """

    noise: Share = 0.1
    span: tuple[int, ...] = (0, 0)
    random_share: Share = 0.2
    plain_share: Share = 0.25
    prompt: tuple[str, ...] = ("",)

    metric = "wer"

    def messages(self, row: dict, rng=None) -> list[dict]:
        """Turn a text row into messages; without `rng` (validation) a clean copy is wanted."""
        text = row["text"]
        if rng is None:
            return self._copy(text, text)
        if any(self.span):
            text = run_of_words(text, *self.span, rng)
        kind = rng.random()
        if kind < self.plain_share:
            return [{"role": "assistant", "content": text}]
        if kind < self.plain_share + self.random_share:
            text = scramble(text, rng)
        return self._copy(corrupt(text, self.noise, rng), text)

    def _copy(self, shown: str, text: str) -> list[dict]:
        content = [{"type": "text", "text": shown + self.prompt[0]}]
        return [{"role": "user", "content": content}, {"role": "assistant", "content": text}]


def run_of_words(text: str, least: int, most: int, rng: np.random.Generator) -> str:
    """Take `least` to `most` neighbouring words (0: all), the logarithm of their number drawn."""
    words = text.split(" ")
    most = min(most or len(words), len(words))
    if most <= least:
        size = most
    else:
        # uniform in the logarithm: 1 to 2 words as often as 8 to 16
        size = int(np.exp(rng.uniform(np.log(max(least, 1)), np.log(most + 1))))
    first = int(rng.integers(len(words) - size + 1))
    return " ".join(words[first : first + size])


def corrupt(text: str, noise: float, rng: np.random.Generator) -> str:
    """Drop, replace, double, shorten or misspell words, each with a chance of `noise`.

    In a script without spaces, characters stand for words.
    """
    gap = " " if " " in text else ""
    words = text.split(" ") if gap else list(text)
    out = []
    for word in words:
        kinds = (
            [],  # dropped
            [words[int(rng.integers(len(words)))]],  # another word of the text
            [word, word],
            [word[: len(word) // 2] or word],  # its first half
            [_misspelt(word, text, rng)],
        )
        out += kinds[int(rng.integers(len(kinds)))] if rng.random() < noise else [word]
    return gap.join(out) or text  # nothing at all could not be copied


def _misspelt(word: str, text: str, rng: np.random.Generator) -> str:
    place, letters = int(rng.integers(max(len(word), 1))), text.replace(" ", "")
    return word[:place] + letters[int(rng.integers(len(letters)))] + word[place + 1 :]


def scramble(text: str, rng: np.random.Generator) -> str:
    """Cut the words into parts of 1 to 4 letters and glue them anew, which no prior can guess.

    The parts are the text's own: a tokenizer of word pieces finds pieces in them, not single
    letters, so that the string is as long as the text.
    """
    parts = []
    for word in text.split(" "):
        while word:
            size = int(rng.integers(1, 5))
            parts.append(word[:size])
            word = word[size:]
    parts = [parts[int(i)] for i in rng.permutation(len(parts))]
    out = []
    while parts:
        size = int(rng.integers(1, 4))
        out.append("".join(parts[:size]))
        parts = parts[size:]
    return " ".join(out)
