"""Edits where words may also be written together: "white paper" and "whitepaper" are the same.

Adjacent words of either text may stand, joined without a space, for one word of the other at no
cost: of all alignments one with the fewest errors is taken, then one with the fewest substitutions,
as in `edit.py`. The number of reference words stays what it was.

The rule of `merge_compounds=True` in kaldialign, by which the Open ASR leaderboard counts; the
tests hold the number of errors against it. Texts without such words are left to `edit.py`.
"""

from collections.abc import Iterator, Sequence

from speechllm.score import edit
from speechllm.score.edit import Step

# A way into a cell of the table: words of the reference and of the hypothesis that it takes.
Way = tuple[int, int]


def counts(ref: Sequence[str], hyp: Sequence[str]) -> tuple[int, int, int, int]:
    """Count (correct, substitutions, deletions, insertions); joined words are correct."""
    if ref == hyp or not _joined(ref, hyp):
        return edit.counts(ref, hyp)
    kinds = [step[0] for step in align(ref, hyp)[2]]
    substitutions, deletions, insertions = map(kinds.count, "SDI")
    return len(ref) - substitutions - deletions, substitutions, deletions, insertions


def align(ref: Sequence[str], hyp: Sequence[str]) -> tuple[list[str], list[str], list[Step]]:
    """Align; words that are joined with others come back as one token, "white paper".

    Returns:
        Tokens of the reference, tokens of the hypothesis, steps between them.
    """
    joined = _joined(ref, hyp)
    if not joined:
        return list(ref), list(hyp), edit.align(ref, hyp)
    tokens: tuple[list[str], list[str]] = ([], [])
    steps: list[Step] = []
    i = j = 0
    for a, b in _path(ref, hyp, joined):
        left, right = ref[i : i + a], hyp[j : j + b]
        kind = "I" if not a else "D" if not b else "=" if "".join(left) == "".join(right) else "S"
        steps.append((kind, len(tokens[0]), len(tokens[1])))
        tokens[0].extend([" ".join(left)] if a else [])
        tokens[1].extend([" ".join(right)] if b else [])
        i, j = i + a, j + b
    return *tokens, steps


def _joined(ref: Sequence[str], hyp: Sequence[str]) -> dict[tuple[int, int], list[Way]]:
    """Find where words may be joined: (end in ref, end in hyp) -> ways that lead there."""
    ways: dict[tuple[int, int], list[Way]] = {}
    for i, n, j in _spelt(ref, hyp):
        ways.setdefault((i + n, j + 1), []).append((n, 1))
    for j, n, i in _spelt(hyp, ref):
        ways.setdefault((i + 1, j + n), []).append((1, n))
    return ways


def _spelt(parts: Sequence[str], words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (start, number, place): so many parts from there spell the word in that place."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        places.setdefault(word, []).append(place)
    longest = max(map(len, places), default=0)
    for start in range(len(parts) - 1):
        text = parts[start]
        for number in range(2, len(parts) - start + 1):
            text += parts[start + number - 1]
            if len(text) > longest:
                break
            for place in places.get(text, ()):
                yield start, number, place


def _path(ref: Sequence[str], hyp: Sequence[str], joined: dict) -> list[Way]:
    """Fill the table of least costs and walk back from its end."""
    n, m = len(ref), len(hyp)
    gap = min(n, m) + 1  # as in `edit.counts`: one error outweighs all substitutions
    cost = [[gap * (i + j) for j in range(m + 1)] for i in range(n + 1)]
    way = [[(0, 1) if j else (1, 0) for j in range(m + 1)] for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            diagonal = cost[i - 1][j - 1] + (0 if ref[i - 1] == hyp[j - 1] else gap + 1)
            choices = [(diagonal, (1, 1)), (cost[i][j - 1] + gap, (0, 1))]
            choices.append((cost[i - 1][j] + gap, (1, 0)))
            choices += [(cost[i - a][j - b], (a, b)) for a, b in joined.get((i, j), ())]
            cost[i][j], way[i][j] = min(choices, key=lambda choice: choice[0])
    path: list[Way] = []
    i, j = n, m
    while i or j:
        path.append(way[i][j])
        i, j = i - path[-1][0], j - path[-1][1]
    return path[::-1]
