"""One answer, and when it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from speechllm.decode.filters import loops
from speechllm.decode.transcript import Word


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        ids: its tokens without the close.
        stop: why it ended: "eos", "length", "loop", or "gone" where nobody waited any more.
        score: its sum of log-probabilities by its length (`decode/search.py`); nearer to 0 is
            more probable.
        text: what the ids say, where somebody has put it in.
        alternatives: other answers to the same, the best first.
        words: of the text with times in seconds of the sound, where somebody has aligned them.
    """

    ids: list[int]
    stop: str
    score: float = field(default=0.0, compare=False)  # differs in the last bits by batch
    text: str = ""
    alternatives: tuple["Answer", ...] = ()
    words: tuple[Word, ...] = field(default=(), compare=False)

    def read(self, text_of: Callable[[list[int]], str]) -> "Answer":
        """Put the text in, also of the alternatives."""
        others = tuple(other.read(text_of) for other in self.alternatives)
        return replace(self, text=text_of(self.ids), alternatives=others)


@dataclass(frozen=True)
class Ending:
    """When an answer ends: by its row's bound, by one of `stops`, or `repeats` times one n-gram."""

    bounds: Sequence[int] | Mapping[int, int]
    stops: frozenset[int]
    repeats: int
    length_penalty: float = 1.0

    def why(self, row: int, ids: list[int]) -> str:
        """Say why an answer ends with its last id: "eos", "length", "loop", or "" for not yet."""
        if ids[-1] in self.stops:
            return "eos"
        if len(ids) >= self.bounds[row]:
            return "length"
        return "loop" if loops(ids, self.repeats) else ""

    def close(self, ids: list[int], why: str, total: float) -> Answer:
        """Make an answer of all that was said, its close too, and the sum of log-probabilities."""
        score = total / len(ids) ** self.length_penalty
        return Answer(ids[:-1] if why == "eos" else ids, why, score)
