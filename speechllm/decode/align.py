"""Words on the time axis: the best path of known words through what a network said at each step.

    spans = ctc(log_probs, targets, blank)          # forced alignment (Graves et al. 2006; Viterbi)
    spans = in_order(scores)                        # of attention: each token one stretch of steps
    words = timed(groups, texts, spans, step_s)     # [Word(0.32, 0.56, "good"), ...]

L steps, S tokens, V units. All is numpy; work is vectorised over states, so that half a minute
(1500 steps, 200 tokens) takes some 20 ms.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from speechllm.decode.transcript import Word, split

LOWEST = -1e30


def best_path(scores: np.ndarray, skips: np.ndarray) -> np.ndarray | None:
    """Find the state of each step on the best path from left to right.

    It begins in the first state, or in the second where `skips[1]`, and ends in the last, or in the
    last but one where anything may be skipped. At each step it stays, goes on, or skips a state.

    Args:
        scores: (L, S) how well each step fits each state; they are summed.
        skips: (S,) bool, whether a state may follow the last but one.

    Returns:
        (L,) states, or None where there are too few steps.
    """
    n_steps, n_states = scores.shape
    if not n_steps or not n_states:
        return None
    total = np.full(n_states + 2, LOWEST)  # two states before the first, so that
    total[1] = 0.0  # one formula serves: entering the first is going on, the second a skip
    back = np.empty((n_steps, n_states), np.int8)
    columns = np.arange(n_states)
    jump = np.where(skips, 0.0, LOWEST)
    for step in range(n_steps):
        ways = np.stack([total[2:], total[1:-1], total[:-2] + jump])
        chosen = ways.argmax(0)
        back[step] = chosen
        best = ways[chosen, columns] + scores[step]
        total[1] = LOWEST
        total[2:] = np.maximum(best, LOWEST)
    state = n_states - 1
    if skips.any() and n_states > 1 and total[-2] > total[-1]:
        state -= 1
    if total[state + 2] <= LOWEST / 2:
        return None
    path = np.empty(n_steps, np.int64)
    for step in range(n_steps - 1, -1, -1):
        path[step] = state
        state -= int(back[step, state])
    return path


def ctc(log_probs: np.ndarray, targets: Sequence[int], blank: int) -> np.ndarray | None:
    """Align targets to CTC's log-probabilities.

    Args:
        log_probs: (L, V + 1), natural logarithms.
        targets: numbers of units, (S,).
        blank: number of the blank.

    Returns:
        (S, 2) first step of each target and the one after its last, or None where there are more
        targets (and blanks between equal ones) than steps.
    """
    ids = np.asarray(targets, np.int64)
    if not len(ids):
        return np.zeros((0, 2), np.int64)
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    skips = np.zeros(len(states), bool)  # a target may follow another that differs, with no blank
    skips[1::2] = np.r_[True, ids[1:] != ids[:-1]]
    path = best_path(log_probs[:, states], skips)
    return None if path is None else _spans(path, 2 * np.arange(len(ids)) + 1)


def spoken(
    log_probs: np.ndarray, words: Sequence[Sequence[int]], blank: int, between: int | None = None
) -> list[tuple[int, int] | None] | None:
    """Align words, each by its units: first step and the one after its last, None of one without.

    Args:
        log_probs, blank: as of `ctc`.
        words: units of each.
        between: the unit that stands between words, if one does.

    Returns:
        None where the words are more than the steps.
    """
    units: list[int] = []
    places: list[tuple[int, int] | None] = []
    for word in words:
        if word and units and between is not None:
            units.append(between)
        places.append((len(units), len(units) + len(word)) if word else None)
        units += word
    spans = ctc(log_probs, units, blank)
    if spans is None:
        return None
    return [at and (int(spans[at[0], 0]), int(spans[at[1] - 1, 1])) for at in places]


def spot(log_probs: np.ndarray, words: Sequence[Sequence[int]], blank: int) -> np.ndarray:
    """Say how near each of many words comes to being said, wherever it may stand.

    Args:
        log_probs, blank: as of `ctc`.
        words: units of each, at least one.

    Returns:
        (W,) the best path through a word against the best path of all in the same steps, by its
        number of units, in nats: 0 where the word is what CTC reads, else below.
    """
    if not len(words):
        return np.zeros(0)
    n = np.array([len(word) for word in words])
    states = np.full((len(words), 2 * n.max() - 1), blank)
    for row, word in zip(states, words, strict=True):
        row[: 2 * len(word) : 2] = word
    jump = np.full(states.shape, LOWEST)
    jump[:, 2::2] = np.where(states[:, 2::2] != states[:, :-2:2], 0.0, LOWEST)
    total = np.full((len(words), states.shape[1] + 2), LOWEST)
    total[:, 1] = 0.0  # a word may begin at any step
    best, rows = np.full(len(words), LOWEST), np.arange(len(words))
    for step in log_probs - log_probs.max(1, keepdims=True):
        ways = np.maximum(np.maximum(total[:, 2:], total[:, 1:-1]), total[:, :-2] + jump)
        total[:, 2:] = np.maximum(ways + step[states], LOWEST)
        best = np.maximum(best, total[rows, 2 * n])  # the state of a word's last unit
    return best / n


def in_order(scores: np.ndarray) -> np.ndarray | None:
    """Align tokens that follow each other, each for a step at least: (L, S) -> (S, 2) as `ctc`."""
    path = best_path(scores, np.zeros(scores.shape[1], bool))
    return None if path is None else _spans(path, np.arange(scores.shape[1]))


def _spans(path: np.ndarray, states: np.ndarray) -> np.ndarray:
    first, last = np.searchsorted(path, states), np.searchsorted(path, states, "right")
    return np.stack([first, last], 1)


def grouped(ids: Sequence[int], text_of: Callable[[Sequence[int]], str]) -> list[list[int]]:
    """Say which tokens each word of a text is of: places in `ids`, for each word of `split`.

    A token belongs to the word that it begins or goes on with; one that is of two (" a b") to the
    last of them.
    """
    places: list[list[int]] = []
    for place in range(len(ids)):
        number = len(split(text_of(ids[: place + 1])))
        while len(places) < number:
            places.append([])
        if places:
            places[-1].append(place)
    return places


def inside(words: Sequence[Word], speech: Sequence[tuple[float, float]]) -> tuple[Word, ...]:
    """Let no word begin or end where nobody speaks.

    A network that has never heard silence before speech begins its first word there, and attention
    that begins with a word begins with the window.

    Args:
        words: in order.
        speech: (start, end) of each stretch of it, in the same seconds.
    """
    found = []
    for word in words:
        parts = [(max(a, word.start), min(b, word.end)) for a, b in speech]
        parts = [(a, b) for a, b in parts if b > a]
        if parts:  # the word's share of them; one that is all in silence stays as it is
            word = replace(word, start=round(parts[0][0], 3), end=round(parts[-1][1], 3))
        found.append(word)
    return tuple(found)


def timed(
    texts: Sequence[str],
    spans: Sequence[tuple[float, float] | None],
    confidences: Sequence[float] | None,
    end: float,
) -> tuple[Word, ...]:
    """Make words of their times in seconds; one that has none gets what is free around it.

    Args:
        texts: the words.
        spans: (start, end) of each, None for what cannot be aligned, as figures spelled by letters.
        confidences: of each, None: nothing is known.
        end: of the window.
    """
    words, before = [], 0.0
    for i, text in enumerate(texts):
        span = spans[i]
        if span is None:
            unknown = next((j for j in range(i, len(texts)) if spans[j]), len(texts)) - i
            after = spans[i + unknown][0] if i + unknown < len(texts) else end
            span = before, before + max(after - before, 0.0) / unknown
        start, before = max(float(span[0]), before), max(float(span[1]), before)
        sure = None if confidences is None else float(confidences[i])
        words.append(Word(round(start, 3), round(before, 3), text, sure))
    return tuple(words)
