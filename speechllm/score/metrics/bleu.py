"""BLEU: the geometric mean of n-gram precisions, times a penalty for short output.

sacrebleu's, over the corpus, mixed case, with its tokeniser 13a. A language that is written without
spaces wants another one: `--metric bleu:zh`, `bleu:ja-mecab`, `bleu:char`, `bleu:flores200`.

K. Papineni et al., BLEU: a method for automatic evaluation of machine translation, ACL 2002.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechllm.config import suggest
from speechllm.score.metrics import _sacrebleu


@dataclass(frozen=True)
class Config(_sacrebleu.Sacrebleu):
    """BLEU; `tokenize` is a tokeniser of sacrebleu."""

    tokenize: str = "13a"

    label = "BLEU"
    fields = ("hyp_len", "ref_len", *(f"match{n}" for n in "1234"), *(f"total{n}" for n in "1234"))
    check = "sacrebleu ref*.txt -i hyp.txt -m bleu"

    def __post_init__(self):
        if self.tokenize == "13a":
            return  # sacrebleu's own default; its table is not asked, so that it may be absent
        known = _sacrebleu.load("BLEU").TOKENIZERS
        if self.tokenize not in known:
            raise ValueError(f"no such tokeniser; {suggest(self.tokenize, known)}")

    @property
    def peer(self):
        """sacrebleu's BLEU."""
        return _sacrebleu.load("BLEU", tokenize=self.tokenize, force=True)

    def score(self, total: Sequence[int] | np.ndarray):
        """BLEU in percent of a total (10,) or of many (..., 10); nan without reference tokens.

        A precision of 0 is halved again and again instead ("exp" smoothing: 1/2, 1/4 ... matches).
        """
        total = np.asarray(total, np.float64)
        hyp_len, ref_len, match, n = total[..., 0], total[..., 1], total[..., 2:6], total[..., 6:10]
        with np.errstate(divide="ignore", invalid="ignore"):
            smoothed = np.where(match > 0, match, 0.5 ** np.cumsum(match == 0, -1))
            mean = np.exp(np.log(smoothed / n).mean(-1))
            penalty = np.exp(np.minimum(0, 1 - ref_len / hyp_len))
            values = np.where((match > 0).any(-1) & (n > 0).all(-1), 100 * penalty * mean, 0.0)
        return np.where(ref_len > 0, values, np.nan)[()]

    def describe(self, total: Sequence[int]) -> str:
        """Write a total as sacrebleu does: the precisions, the brevity penalty and the lengths."""
        result = self.peer._compute_score_from_stats([int(x) for x in total])
        return str(result).split(" ", 3)[-1]
