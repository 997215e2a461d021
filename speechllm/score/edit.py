"""Edit counts and alignments of two token sequences, with one convention for both.

**Convention.** The number of errors S+D+I is the Levenshtein distance (as in Kaldi's `compute-wer`
and jiwer). Among all alignments with that many errors we take one with the fewest substitutions,
that is with the most words correct. As I - D is the difference of the lengths, this fixes S, D and
I: the split is a property of the two texts and not of an implementation. Where several alignments
remain, we walk back from the end and prefer the diagonal, then an insertion, then a deletion: the
rule of sclite.

**sclite** minimises 4 S + 3 (I + D), which equals 3 (S + I + D) + S. Hence whenever sclite finds as
few errors as we do, it finds our S, D and I as well; with the same rule for ties, word for word the
same alignment. It can find *more* errors than the Levenshtein distance, as it may take four
insertions and deletions for three substitutions, six for five: "a b c d e" against "d e x y z" is 5
errors here, in Kaldi and in jiwer, and 6 in sclite, with two words correct. `sclite_counts`, and
`align` with the weights `SCLITE`, give sclite's own result in each case. **jiwer** always has our
total, but takes any alignment that reaches it, so that its S may be higher and its D and I lower by
half of that each. The tests hold all of this against both programs.

Fast because rapidfuzz (C++) does the table: with weights W for insertion and deletion and W + 1 for
substitution, W above any number of substitutions, one distance is (S + D + I) W + S.
"""

from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

SCLITE = (3, 4)
"""Weights of sclite: insertion or deletion, substitution."""

Step = tuple[str, int, int]
"""("=" | "S" | "D" | "I", index in the reference, index in the hypothesis); an index that does not
apply says where the gap is."""


def counts(ref: Sequence, hyp: Sequence) -> tuple[int, int, int, int]:
    """Count (correct, substitutions, deletions, insertions)."""
    n, m = len(ref), len(hyp)
    if ref == hyp:
        return n, 0, 0, 0
    # "a b c" -> "x b": W is 3, one substitution costs 4 and one deletion 3, so 7 = 2 errors x 3 + 1
    # substitution. D - I is n - m whatever the path, which gives both from their sum.
    weight = min(n, m) + 1
    cost = Levenshtein.distance(ref, hyp, weights=(weight, weight, weight + 1))
    errors, substitutions = divmod(cost, weight)
    deletions = (errors - substitutions + n - m) // 2
    insertions = deletions - n + m
    return n - substitutions - deletions, substitutions, deletions, insertions


def sclite_counts(ref: Sequence, hyp: Sequence) -> tuple[int, int, int, int]:
    """Count as sclite does; another result than `counts` takes three substitutions or more."""
    ours = counts(ref, hyp)
    if ours[1] < 3:
        return ours
    kinds = [step[0] for step in align(ref, hyp, SCLITE)]
    return tuple(kinds.count(kind) for kind in "=SDI")


def align(ref: Sequence, hyp: Sequence, weights: tuple[int, int] | None = None) -> list[Step]:
    """Align two sequences; the counts of the steps are those of `counts`.

    `weights` (insertion or deletion, substitution) replaces the convention above, as `SCLITE` does.
    Time and memory grow with (errors x length): the best path leaves the diagonal by no more than
    the number of errors, so nothing else is filled in.
    """
    _, substitutions, deletions, insertions = counts(ref, hyp)
    if not deletions and not insertions and (not substitutions or weights is None):
        return [
            ("=" if a == b else "S", i, i) for i, (a, b) in enumerate(zip(ref, hyp, strict=True))
        ]
    if not substitutions and not (deletions and insertions):
        return _subsequence(ref, hyp)
    tail = _common_tail(ref, hyp)
    n, m = len(ref) - tail, len(hyp) - tail
    weights = weights or (min(n, m) + 1, min(n, m) + 2)
    steps = _walk_back(_moves(ref[:n], hyp[:m], weights), n, m)
    for k, (move, i, j) in enumerate(steps):
        # the walk knows only diagonals: where both words are the same it was free
        if move == "S" and ref[i] == hyp[j]:
            steps[k] = ("=", i, j)
    return steps + [("=", n + k, m + k) for k in range(tail)]


def _subsequence(ref: Sequence, hyp: Sequence) -> list[Step]:
    """Align where one text is the other with gaps: from the end, equal words belong together."""
    steps: list[Step] = []
    i, j = len(ref), len(hyp)
    longer = "D" if i > j else "I"
    while i or j:
        same = i and j and ref[i - 1] == hyp[j - 1]
        i, j = i - (same or longer == "D"), j - (same or longer == "I")
        steps.append(("=" if same else longer, i, j))
    return steps[::-1]


def _common_tail(ref: Sequence, hyp: Sequence) -> int:
    """Length of the common end; the walk back would take it along the diagonal anyway."""
    tail, most = 0, min(len(ref), len(hyp))
    while tail < most and ref[-1 - tail] == hyp[-1 - tail]:
        tail += 1
    return tail


def _moves(ref: Sequence, hyp: Sequence, weights: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    """Fill the table in a band, row by row; return (first column, moves) for each row.

    A row's insertions run left to right; `minimum.accumulate` on cost - column x weight does them
    in one go. Moves: 0 diagonal, 1 insertion, 2 deletion.
    """
    n, m = len(ref), len(hyp)
    gap, substitution = weights
    # No path of least cost has more than cost / gap gaps; the distance bounds the cost.
    band = Levenshtein.distance(ref, hyp) * substitution // gap
    words: dict = {}
    r = np.array([words.setdefault(w, len(words)) for w in ref], np.int64)
    h = np.array([words.setdefault(w, len(words)) for w in hyp], np.int64)
    slope = gap * np.arange(m + 1, dtype=np.int64)
    far = np.int64(4) * substitution * (n + m + 1)
    before = np.where(np.arange(m + 1) <= band, slope, far)
    rows = [(0, np.ones(m + 1, np.uint8))]
    for i in range(1, n + 1):
        low, high = max(0, i - band), min(m, i + band) + 1
        delete = before[low:high] + gap
        diagonal = np.full(high - low, far)
        start = max(low, 1)
        diagonal[start - low :] = before[start - 1 : high - 1]
        diagonal[start - low :] += (h[start - 1 : high - 1] != r[i - 1]) * substitution
        best = np.minimum(diagonal, delete)
        # cost[j] = min over k <= j of best[k] + (j - k) x gap: with the slope taken off, a running
        # minimum, and no loop over the columns
        cost = np.minimum.accumulate(best - slope[low:high]) + slope[low:high]
        insert = np.full(high - low, far)
        insert[1:] = cost[:-1] + gap
        moves = np.where(diagonal == cost, 0, np.where(insert == cost, 1, 2)).astype(np.uint8)
        rows.append((low, moves))
        before = np.full(m + 1, far) if high - low < m + 1 else before
        before[low:high] = cost
    return rows


def _walk_back(rows: list[tuple[int, np.ndarray]], i: int, j: int) -> list[Step]:
    """Follow the moves from the end to the start; diagonals come out as "S", equal or not."""
    steps: list[Step] = []
    while i or j:
        low, moves = rows[i]
        move = moves[j - low] if i else 1
        if move == 0:
            i, j = i - 1, j - 1
            steps.append(("S", i, j))
        elif move == 1:
            j -= 1
            steps.append(("I", i, j))
        else:
            i -= 1
            steps.append(("D", i, j))
    return steps[::-1]
