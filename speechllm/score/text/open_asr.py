"""English as the Open ASR leaderboard has it since August 2026: Whisper's rules, and more.

More fillers; 's is "is" after pronouns and the like alone ("john's" is two words, no verb); its own
list of spellings; one spelling a name; compounds and spelt-out acronyms are one word, so that
"B.B.C." and "BBC", "wi-fi" and "wifi" are the same.

Equal to the normaliser of huggingface/open_asr_leaderboard at commit d1e99b2 (2026-08-21). Its word
error rate also takes two words for one that they spell ("white paper", "whitepaper"): that is
`--metric wer:merged`.
"""

import functools
import re
from itertools import groupby

from speechllm.score.text import english

FILLERS = ("hmm mm mhm mmm uh um ah aha ahh ahm eh ehehe em hm huh hum mhum uhm umm uhuh").split()
_IS = "it he she what that who here there how when where why this".split()
LONE = {"a", "i"}  # words by themselves: it takes three letters with one of them for an acronym


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    kinds: dict[str, dict[str, str]] = {"spelling": {}, "name": {}, "compound": {}}
    for kind, word, instead in english.table("open_asr_en.tsv"):
        kinds[kind][word] = instead
    return kinds


@functools.cache
def words() -> dict[str, str]:
    """Word by word: American spelling, then one spelling of each name."""
    changed, names = _tables()["spelling"], _tables()["name"]
    spelling = {word: to for word, to in (english.spelling() | changed).items() if to}
    return names | {word: names.get(to, to) for word, to in spelling.items()}


@functools.cache
def _compound() -> re.Pattern:
    pairs = (r"\s+".join(words.split()) for words in _tables()["compound"])
    return re.compile(rf"\b(?:{'|'.join(pairs)})\b")


def compounds(text: str) -> str:
    """Write as one word what is one: "wi fi" -> "wifi"."""
    one_word = _tables()["compound"]
    return _compound().sub(lambda m: one_word[" ".join(m[0].split())], text)


def acronyms(text: str) -> str:
    """Join letters and figures that stand alone in a row: "b b c" -> "bbc", but "i a" stays."""
    parts: list[str] = []
    for single, run in groupby(text.split(), lambda word: len(word) == 1 and word.isalnum()):
        run = list(run)
        joined = single and len(run) >= (2 if LONE.isdisjoint(run) else 3)
        parts += ["".join(run)] if joined else run
    return " ".join(parts)


RULES = english.Rules(
    fillers=FILLERS,
    is_=(rf"\b({'|'.join(_IS)})'s", r"\1 is"),
    words=words,
    before_numbers=compounds,
    after_words=acronyms,
)


def open_asr(text: str) -> str:
    """Normalise one text as the leaderboard does."""
    return english.english(text, RULES)
