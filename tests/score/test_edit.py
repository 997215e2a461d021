"""Counts and alignments against a slow reference, sclite and jiwer."""

import random
from collections import Counter

import jiwer
import pytest

from speechllm.score import edit


def slow(ref, hyp, gap, substitution):
    """Align by the textbook, (counts, moves): the specification, with sclite's rule for ties."""
    n, m = len(ref), len(hyp)
    cost = [[gap * (i + j) for j in range(m + 1)] for i in range(n + 1)]
    move = [["I" if j else "D" for j in range(m + 1)] for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            same = ref[i - 1] == hyp[j - 1]
            choices = [
                (cost[i - 1][j - 1] + (0 if same else substitution), "=" if same else "S"),
                (cost[i][j - 1] + gap, "I"),
                (cost[i - 1][j] + gap, "D"),
            ]
            cost[i][j], move[i][j] = min(choices, key=lambda choice: choice[0])
    moves, i, j = [], n, m
    while i or j:
        moves.append(move[i][j])
        i, j = i - (moves[-1] != "I"), j - (moves[-1] != "D")
    return moves[::-1]


def random_pairs(number, seed=0, longest=12):
    rng = random.Random(seed)
    for _ in range(number):
        letters = "abcdefg"[: rng.randint(1, 7)]
        yield tuple(rng.choices(letters, k=rng.randint(0, longest)) for _ in "rh")


def tally(steps):
    count = Counter(step[0] for step in steps)
    return tuple(count[kind] for kind in "=SDI")


def test_counts_and_alignment_are_the_slow_ones():
    for ref, hyp in random_pairs(3000):
        expected = slow(ref, hyp, 100, 101)
        steps = edit.align(ref, hyp)
        assert [step[0] for step in steps] == expected, (ref, hyp)
        assert edit.counts(ref, hyp) == tally(steps), (ref, hyp)
        sclites = [step[0] for step in edit.align(ref, hyp, edit.SCLITE)]
        assert sclites == slow(ref, hyp, 3, 4), (ref, hyp)


def test_steps_spell_both_texts():
    for ref, hyp in random_pairs(500, seed=1):
        steps = edit.align(ref, hyp)
        assert [ref[i] for kind, i, _ in steps if kind != "I"] == ref
        assert [hyp[j] for kind, _, j in steps if kind != "D"] == hyp


def test_long_texts_stay_cheap():
    rng = random.Random(2)
    ref = [rng.choice("abcdefghij") + str(rng.randint(0, 300)) for _ in range(9000)]
    hyp = [w if rng.random() > 0.05 else "x" for w in ref if rng.random() > 0.02]
    assert tally(edit.align(ref, hyp)) == edit.counts(ref, hyp)


def test_sclite_has_our_split_and_our_alignment_whenever_it_has_our_total(sclite, spoiled):
    """Beyond that, sclite's total is higher, and its own weights (4, 3, 3) say why."""
    pairs = [(" ".join(ref), " ".join(hyp)) for ref, hyp in random_pairs(3000, seed=3)]
    for refs, hyps in spoiled.values():
        pairs += zip(refs, hyps, strict=True)
    theirs, _ = sclite(*zip(*pairs, strict=True))
    assert len(theirs) == len(pairs) > 8000
    more = 0
    for i, (ref, hyp) in enumerate(pairs):
        expected = theirs[f"s-{i:05d}"]
        ours = edit.counts(ref.split(), hyp.split())
        if ours != expected:
            more += 1
            assert sum(expected[1:]) > sum(ours[1:])
            assert 4 * expected[1] + 3 * sum(expected[2:]) <= 4 * ours[1] + 3 * sum(ours[2:])
        assert edit.sclite_counts(ref.split(), hyp.split()) == expected
    assert 0 < more < len(pairs) / 50


def test_the_case_where_sclite_counts_more(sclite):
    ref, hyp = "a b c d e", "d e x y z"
    assert edit.counts(ref.split(), hyp.split()) == (0, 5, 0, 0)
    assert jiwer.process_words(ref, hyp).substitutions == 5
    assert sclite([ref], [hyp])[0] == {"s-00000": (2, 0, 3, 3)}


@pytest.mark.parametrize("rate", [0.03, 0.15, 0.5, 0.95])
def test_jiwer_has_our_total_and_never_fewer_substitutions(spoiled, rate):
    refs, hyps = spoiled[rate]
    theirs = jiwer.process_words(refs, hyps)
    for ref, hyp, chunks in zip(refs, hyps, theirs.alignments, strict=True):
        _, sub, deleted, inserted = edit.counts(ref.split(), hyp.split())
        size = Counter()
        for c in chunks:
            kind = c.type
            size[kind] += max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
        extra = size["substitute"] - sub
        assert extra >= 0 and extra % 2 == 0
        assert (size["delete"], size["insert"]) == (deleted - extra // 2, inserted - extra // 2)
