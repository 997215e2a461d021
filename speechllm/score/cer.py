"""Character error rate: the word error rate of characters, in percent.

Characters are Unicode code points of the normalised text. White space within the text counts as one
character for each gap, since a joined or split word is an error (as in jiwer, Kaldi and ESPnet);
white space at the ends does not count. sclite's `-c` leaves white space out, so it differs.
Empty references and hypotheses are treated as in `wer.py`.
"""

from speechllm.score import _edit
from speechllm.score.wer import FIELDS, LOWER_IS_BETTER, describe, score, size

__all__ = ["FIELDS", "LOWER_IS_BETTER", "NAME", "describe", "score", "size", "stats", "tokens"]

NAME = "CER"
UNIT = "character"
LOOP_LENGTH = 40
BURST = 20


def tokens(text: str) -> list[str]:
    """Split a normalised text into characters, each gap one space."""
    return list(" ".join(text.split()))


def stats(ref: str, hyp: str) -> tuple[int, int, int, int]:
    """Count (correct, substitutions, deletions, insertions) of one utterance."""
    return _edit.counts(" ".join(ref.split()), " ".join(hyp.split()))
