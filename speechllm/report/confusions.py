"""Which words are taken for which: the most frequent errors of a score."""

from collections import Counter

from speechllm.report.worst import Utterance

MOST = 12
HEADS = ("reference", "recognised", "times")
NOTHING = "(nothing)"


def rows(utterances: list[Utterance]) -> list[tuple[str, ...]]:
    """List pairs of words that occur more than once, the most frequent first.

    A word that was left out stands beside nothing, and so does one that nobody said.
    """
    pairs = Counter(
        (reference.lower(), said.lower()) for one in utterances for reference, said in one.words
    )
    wrong = [(n, pair) for pair, n in pairs.items() if pair[0] != pair[1] and n > 1]
    wrong.sort(key=lambda one: (-one[0], one[1]))
    return [(*(word or NOTHING for word in pair), str(n)) for n, pair in wrong[:MOST]]
