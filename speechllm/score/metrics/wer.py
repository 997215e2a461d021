"""Word error rate: (S + D + I) / reference words, over the corpus, in percent.

Words are what stands between white space. See `edit.py` for which alignment is counted and how it
relates to sclite and jiwer. An **empty reference** has no words to miss: each word of its
hypothesis is an insertion and counts, the utterance adds nothing to the denominator. An **empty
hypothesis** deletes each word of its reference. With no reference word at all the rate is
undefined (nan), and printed so.

`--metric wer:merged`: words may be written together, as the Open ASR leaderboard counts since
August 2026 (`compounds.py`). sclite cannot check that.
"""

from dataclasses import dataclass

from speechllm.score import compounds, edit
from speechllm.score.formats import sclite
from speechllm.score.metrics._metric import Rate


@dataclass(frozen=True)
class Config(Rate):
    """Word error rate; `compounds` are "apart" or "merged"."""

    compounds: str = "apart"

    label = "WER"

    def __post_init__(self):
        if self.compounds not in ("apart", "merged"):
            raise ValueError(f"compounds are 'apart' or 'merged', got {self.compounds!r}")

    @property
    def check(self) -> str:
        """sclite's command, where it counts the same."""
        return "" if self.compounds == "merged" else sclite.COMMAND

    def signature(self, n_refs: int) -> str:
        """Say that words may be written together."""
        return "compounds:merged" if self.compounds == "merged" else ""

    def stats(self, ref: str, hyp: str) -> tuple[int, int, int, int]:
        """Count (correct, substitutions, deletions, insertions) of one utterance."""
        one = compounds if self.compounds == "merged" else edit
        return one.counts(ref.split(), hyp.split())

    def align(self, ref: str, hyp: str) -> tuple[list[str], list[str], list[edit.Step]]:
        """Align words; those that are written together are one token."""
        if self.compounds == "merged":
            return compounds.align(ref.split(), hyp.split())
        return super().align(ref, hyp)
