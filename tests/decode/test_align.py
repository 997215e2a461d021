"""Alignment: against all paths, counted out; words and their times; what cannot be aligned."""

import itertools

import numpy as np
import pytest

from speechllm.decode import align
from speechllm.decode.transcript import Word, split

BLANK = 3


def every_ctc_path(n_steps: int, targets: list[int]):
    """Yield all (S, 2) spans that CTC allows: each target a run, a blank between equal ones."""
    runs = list(itertools.combinations(range(n_steps + 1), 2))
    edges = itertools.product(runs, repeat=len(targets))
    for spans in edges:
        pairs = zip(spans, spans[1:], targets, targets[1:], strict=False)
        if all(b[0] - a[1] >= (s == t) for a, b, s, t in pairs):
            yield spans


def total(log_probs: np.ndarray, targets: list[int], spans) -> float:
    steps = np.full(len(log_probs), BLANK)
    for target, (a, b) in zip(targets, spans, strict=True):
        steps[a:b] = target
    return float(log_probs[np.arange(len(steps)), steps].sum())


@pytest.mark.parametrize("targets", [[0], [0, 1], [1, 1], [0, 0, 2], [2, 1, 0]])
def test_ctc_is_the_best_of_all_paths(targets):
    rng = np.random.default_rng(0)
    for n_steps in (len(targets), 5, 7):
        log_probs = np.log(rng.dirichlet(np.ones(BLANK + 1), n_steps))
        paths = list(every_ctc_path(n_steps, targets))
        spans = align.ctc(log_probs, targets, BLANK)
        if not paths:
            assert spans is None
            continue
        best = max(total(log_probs, targets, path) for path in paths)
        assert total(log_probs, targets, spans) == pytest.approx(best, abs=1e-9)


def test_ctc_finds_what_was_said_in_noise():
    rng = np.random.default_rng(1)
    for _ in range(20):
        targets = rng.permutation(20)[:12].tolist()
        at = np.sort(rng.permutation(60)[:12])
        shares = rng.dirichlet(np.full(21, 0.2), 60)
        shares[:, 20] += 1.0
        shares[at, targets] += 1.0
        log_probs = np.log(shares / shares.sum(1, keepdims=True) + 1e-6)
        assert align.ctc(log_probs, targets, 20)[:, 0].tolist() == at.tolist()


def test_a_long_text_is_aligned():
    """More states than a byte counts."""
    targets = [i % 25 for i in range(300)]
    log_probs = np.full((900, 26), -9.0)
    log_probs[np.arange(300) * 3 + 1, targets] = -0.1
    log_probs[:, 25] = -1.0
    assert align.ctc(log_probs, targets, 25)[:, 0].tolist() == [3 * i + 1 for i in range(300)]


def test_in_order_is_the_best_of_all_cuts():
    scores = np.random.default_rng(2).standard_normal((8, 3))
    cuts = itertools.combinations(range(1, 8), 2)
    ways = [
        (scores[:a, 0].sum() + scores[a:b, 1].sum() + scores[b:, 2].sum(), a, b) for a, b in cuts
    ]
    _, a, b = max(ways)
    assert align.in_order(scores).tolist() == [[0, a], [a, b], [b, 8]]
    assert align.in_order(scores[:2]) is None and align.in_order(scores[:0]) is None


def test_words_are_aligned_by_their_units():
    # a b _ _ c with 5 steps; the second word has no unit, as a figure spelled in letters
    log_probs = np.log(np.full((5, 4), 0.01) + 0.96 * np.eye(4)[[0, 1, 3, 3, 2]])
    assert align.spoken(log_probs, [[0, 1], [], [2]], BLANK) == [(0, 2), None, (4, 5)]
    assert align.spoken(log_probs, [[0], [2]], BLANK, between=1) == [(0, 1), (4, 5)]
    assert align.spoken(log_probs, [[0] * 4], BLANK) is None
    assert align.spoken(log_probs, [[]], BLANK) == [None]


def test_times_never_go_back_and_gaps_are_shared():
    spans = [(0.1, 0.3), None, None, (0.9, 1.0), None]
    words = align.timed(["a", "7", "8", "b", "9"], spans, None, 1.4)
    assert words == (
        Word(0.1, 0.3, "a"),
        Word(0.3, 0.6, "7"),
        Word(0.6, 0.9, "8"),
        Word(0.9, 1.0, "b"),
        Word(1.0, 1.4, "9"),
    )
    crossed = align.timed(["a", "b"], [(0.5, 0.9), (0.4, 0.7)], [0.5, 1.0], 1.0)
    assert crossed == (Word(0.5, 0.9, "a", 0.5), Word(0.9, 0.9, "b", 1.0))


def test_no_word_begins_or_ends_where_nobody_speaks():
    words = [Word(0.0, 0.7, "a"), Word(0.7, 1.9, "b"), Word(1.95, 1.98, "c"), Word(2.0, 3.0, "d")]
    found = align.inside(words, [(0.4, 1.0), (1.5, 1.8), (2.5, 2.9)])
    spans = [(w.start, w.end) for w in found]
    assert spans == [(0.4, 0.7), (0.7, 1.8), (1.95, 1.98), (2.5, 2.9)]
    assert align.inside(words, []) == tuple(words)


def test_tokens_of_words():
    pieces = [" he", "llo", ",", " ", "wor", "ld 1", "2"]
    assert align.grouped(range(7), lambda ids: "".join(pieces[i] for i in ids).strip()) == [
        [0, 1, 2, 3],
        [4],
        [5, 6],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good day.", ["Good", "day."]),
        ("", []),
        ("你好。", ["你", "好。"]),
        ("「東京」 tower", ["「東", "京」", "tower"]),
        ("iPhone手机 ok", ["iPhone", "手", "机", "ok"]),
    ],
)
def test_what_is_a_word(text, words):
    assert split(text) == words and "".join(words) == "".join(text.split())
