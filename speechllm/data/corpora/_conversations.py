"""Text alone about scenes of digits (`_scenes.py`), for an LLM that has seen neither.

What is learned last, where single questions are all there is, is to look a digit up: chance among
two or three digits is near, and what finds the digit and what reads its place learn only together.
So there are crowded scenes whose digits are listed in any order, each with its place: each word of
the answer but every second is looked up, by the word before it. And there are conversations: many
questions for one reading of a scene.
"""

import numpy as np

from speechllm.data.corpora._scenes import (
    DIGITS,
    KINDS,
    MOST,
    PAIRS,
    PLACES,
    TRUE_FALSE,
    Asker,
    Question,
    Scene,
)

LISTS = {
    True: ("find each digit and its place", "where does each digit stand", "find all digits"),
    False: ("name the digit in each place", "what do you see in each place", "name each place"),
}  # digits first, or places first
SECOND = ("first", "second")
OF_ONE = [kind for kind in KINDS if kind not in (*PAIRS, "caption")]


def crowd(rng: np.random.Generator) -> Scene:
    """Draw a scene of more digits than any split's, up to nine, each once, in any cells."""
    size = int(rng.integers(MOST + 1, 10))  # so that no split's layout is given away
    cells: list[int | None] = [None] * 9
    for cell, digit in zip(rng.permutation(9)[:size], rng.permutation(10)[:size], strict=True):
        cells[cell] = int(digit)
    return Scene(tuple(cells))


def listed(rng: np.random.Generator, digits_first: bool) -> Question:
    """Ask for all that is in a crowded scene; the answer is in any order."""
    scene = crowd(rng)
    there = [int(i) for i in rng.permutation(9) if scene.cells[i] is not None]
    pairs = [(DIGITS[scene.cells[i]], PLACES[i]) for i in there]
    words = [word for pair in pairs for word in (pair if digits_first else pair[::-1])]
    forms = LISTS[digits_first]
    asked = forms[int(rng.integers(len(forms)))]
    return Question("listed", (scene,), asked, " ".join(words))


def conversation(asker: Asker, n: int, pair: bool, crowded: bool) -> list[Question]:
    """Ask up to n different questions about one scene, perhaps a crowded one, or about two (pair).

    The caption, which tells everything, comes last.
    """
    if pair:
        first = asker.ask(PAIRS[int(asker.rng.integers(2))], asker.scene(), asker.coin())
        found = [first, *(_of_two(asker, first.scenes) for _ in range(n - 1))]
    else:
        scene = crowd(asker.rng) if crowded else asker.scene()
        found = [one for _ in range(n - 1) if (one := _of_one(asker, scene))]
    asked = [*{one.question: one for one in found if one}.values()]
    return asked if pair else [*asked, asker.ask("caption", scene)]


def _of_one(asker: Asker, scene: Scene) -> Question | None:
    """Ask anything about a scene; None where what was drawn does not fit it."""
    kind, number = OF_ONE[int(asker.rng.integers(len(OF_ONE)))], asker.coin()
    return asker.ask(kind, scene, number) if asker.fits(kind, scene, number) else None


def _of_two(asker: Asker, scenes: tuple[Scene, Scene]) -> Question | None:
    """Ask whether a digit is in both, or which has more; as often true as false."""
    sizes, true = [len(scene.digits) for scene in scenes], not asker.coin()
    answer = TRUE_FALSE[0 if true else 1]
    if sizes[0] != sizes[1] and asker.rng.random() < 0.4:
        more = int(sizes[1] > sizes[0])
        which = SECOND[more if true else 1 - more]
        return asker.made("more", scenes, answer, TRUE_FALSE, which=which)
    every, both = (op(*(set(scene.digits) for scene in scenes)) for op in (set.union, set.__and__))
    drawn = sorted(both if true else every - both)
    if not drawn:
        return None
    a = drawn[int(asker.rng.integers(len(drawn)))]
    return asker.made("pair", scenes, answer, TRUE_FALSE, a=DIGITS[a])
