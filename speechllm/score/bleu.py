"""BLEU: the geometric mean of n-gram precisions, times a penalty for short output.

sacrebleu's, over the corpus, mixed case, with its tokeniser 13a. A language that is written without
spaces wants another one: `--metric bleu:zh`, `bleu:ja-mecab`, `bleu:char`, `bleu:flores200`.

K. Papineni et al., BLEU: a method for automatic evaluation of machine translation, ACL 2002.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from types import SimpleNamespace

import numpy as np

from speechllm.config import suggest
from speechllm.score import _sacrebleu
from speechllm.score._sacrebleu import plain_files
from speechllm.score.wer import BURST, LOOP_LENGTH, UNIT, tokens

__all__ = ["BURST", "LOOP_LENGTH", "UNIT", "plain_files", "tokens"]

NAME = "BLEU"
FIELDS = ("hyp_len", "ref_len", *(f"match{n}" for n in "1234"), *(f"total{n}" for n in "1234"))
LOWER_IS_BETTER = False
NORMALISER = "none"
MANY_REFERENCES = True
REFERENCES = ("translations", "translation", "texts", "text")
SHOWN = ()  # of the fields, in tables
CHECK = "sacrebleu ref*.txt -i hyp.txt -m bleu"


@lru_cache
def _metric(tokenize: str = "13a"):
    known = _sacrebleu.load("BLEU").TOKENIZERS
    if tokenize not in known:
        raise ValueError(f"bleu:{tokenize}: no such tokeniser; {suggest(tokenize, known)}")
    return _sacrebleu.load("BLEU", tokenize=tokenize, force=True)


def with_option(tokenize: str) -> SimpleNamespace:
    """Return this metric with another tokeniser of sacrebleu.

    Raises:
        ValueError: it has none of that name.
    """
    metric = _metric(tokenize)
    bound = {f.__name__: partial(f, metric=metric) for f in (stats, describe, signature)}
    return SimpleNamespace(**{**globals(), **bound})


def stats(ref: str | Sequence[str], hyp: str, metric=None) -> tuple[int, ...]:
    """Lengths, then matching and all n-grams of the hypothesis, n of 1 to 4; (10,)."""
    return _sacrebleu.stats(metric or _metric(), ref, hyp)


def score(total: Sequence[int] | np.ndarray):
    """BLEU in percent of a total (10,) or of many (..., 10); nan without reference tokens.

    A precision of 0 is halved again and again instead ("exp" smoothing: 1 / 2, 1 / 4, ... matches).
    """
    total = np.asarray(total, np.float64)
    hyp_len, ref_len, match, n = total[..., 0], total[..., 1], total[..., 2:6], total[..., 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = np.where(match > 0, match, 0.5 ** np.cumsum(match == 0, -1))
        mean = np.exp(np.log(smoothed / n).mean(-1))
        penalty = np.exp(np.minimum(0, 1 - ref_len / hyp_len))
        found = np.where((match > 0).any(-1) & (n > 0).all(-1), 100 * penalty * mean, 0.0)
    return np.where(ref_len > 0, found, np.nan)[()]


def size(total: Sequence[int]) -> int:
    """Reference tokens in a total: of several references, those nearest in length."""
    return int(total[1])


def describe(total: Sequence[int], metric=None) -> str:
    """Write a total as sacrebleu does: the precisions, the brevity penalty and the lengths."""
    return str(_sacrebleu.result(metric or _metric(), total)).split(" ", 3)[-1]


def signature(n_refs: int, metric=None) -> str:
    """Write sacrebleu's signature."""
    return _sacrebleu.signature(metric or _metric(), n_refs)
