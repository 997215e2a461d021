"""Character error rate: the word error rate of characters, in percent.

Characters are Unicode code points of the normalised text. White space within the text counts as one
character for each gap, since a joined or split word is an error (as in jiwer, Kaldi and ESPnet);
white space at the ends does not count. sclite's `-c` leaves white space out, so it differs.
Empty references and hypotheses are treated as in `wer.py`.
"""

from dataclasses import dataclass

from speechllm.score import edit
from speechllm.score.metrics._metric import Rate


@dataclass(frozen=True)
class Config(Rate):
    """Character error rate."""

    label = "CER"
    unit = "character"
    loop_length = 40
    burst = 20
    fastest = 66.0

    def tokens(self, text: str) -> list[str]:
        """Split a normalised text into characters, each gap one space."""
        return list(" ".join(text.split()))

    def stats(self, ref: str, hyp: str) -> tuple[int, int, int, int]:
        """Count (correct, substitutions, deletions, insertions) of one utterance."""
        return edit.counts(" ".join(ref.split()), " ".join(hyp.split()))
