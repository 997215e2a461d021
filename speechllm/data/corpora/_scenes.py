"""Scenes of digits in a grid of three by three, and questions about them, balanced.

A scene says which digit stands in each of nine cells, row by row; everything is drawn from that, so
that the same questions serve for pictures and for words in their place ("empty three empty ...").
Each kind of question has forms of words for train, and one for dev and one for test that train
never has. `{a}`, `{b}` are names of digits, `{place}` is one of PLACES, as on a map.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen".split()
NUMBERS = (*DIGITS, *TEENS)
PLACES = "northwest north northeast west centre east southwest south southeast".split()
EMPTY = "empty"
YES_NO, TRUE_FALSE = ("yes", "no"), ("true", "false")
FEWEST, MOST = 2, 3  # digits of a scene
SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}  # of the layouts
TRIES = 1000  # after so many draws a wanted answer is taken to be impossible
FORMS = {
    "which": {
        "train": (
            "which digit is in the {place}", "what is in the {place}",
            "name the digit in the {place}", "what digit do you see in the {place}",
            "what is the digit in the {place}", "which digit stands in the {place}",
            "in the {place} is which digit", "which digit do you find in the {place}",
            "tell me the digit in the {place}",
        ),
        "dev": ("in the {place} you see which digit",),
        "test": ("tell me which digit is in the {place}",),
    },
    "where": {
        "train": (
            "where is the {a}", "where do you see the {a}", "where does the {a} stand",
            "tell me the place of the {a}", "where do you find the {a}", "where is the digit {a}",
            "what is the place of the {a}", "which is the place of the {a}",
            "name the place of the {a}",
        ),
        "dev": ("where does the digit {a} stand",),
        "test": ("tell me where you see the {a}",),
    },
    "count": {
        "train": (
            "how many digits are there", "how many digits do you see", "how many are there",
            "how many do you see", "what is the number of digits", "how many digits has it",
            "name the number of digits", "how many digits do you find",
            "tell me how many there are",
        ),
        "dev": ("tell me the number of digits",),
        "test": ("tell me how many digits you see",),
    },
    "largest": {
        "train": (
            "which digit is the largest", "what is the largest digit", "name the largest digit",
            "which is the largest", "find the largest digit", "what is the largest",
            "which is the largest digit you see", "find the largest",
            "the largest digit is which",
        ),
        "dev": ("which is the largest digit",),
        "test": ("tell me the largest digit",),
    },
    "left": {
        "train": (
            "is the {a} left of the {b}", "is {a} left of {b}",
            "does the {a} stand left of the {b}", "do you see the {a} left of the {b}",
            "does {a} stand left of {b}", "do you find the {a} left of the {b}",
            "do you see {a} left of {b}", "is it the {a} that is left of the {b}",
            "is the digit {a} left of the digit {b}",
        ),
        "dev": ("do you find {a} left of {b}",),
        "test": ("is it {a} that stands left of {b}",),
    },
    "sum": {
        "train": (
            "what is the sum", "what is the sum of the digits", "name the sum of the digits",
            "which is the sum", "add the digits", "what is the sum of all digits",
            "find the sum of the digits", "add all digits", "name the sum",
        ),
        "dev": ("find the sum of all digits",),
        "test": ("tell me the sum of the digits",),
    },
    "pair": {
        "train": (
            "there is a {a} in both", "both have a {a}", "a {a} is in both", "in both is a {a}",
            "you see a {a} in both", "each of both has a {a}", "you find a {a} in both",
            "in both there is the digit {a}", "the digit {a} is in both",
        ),
        "dev": ("both have the digit {a}",),
        "test": ("in both you see a {a}",),
    },
    "more": {
        "train": (
            "the {which} has more digits", "there are more digits in the {which}",
            "more digits are in the {which}", "you see more digits in the {which}",
            "you find more digits in the {which}", "in the {which} are more digits",
            "more is in the {which}", "the {which} has more",
            "it is the {which} that has more digits",
        ),
        "dev": ("there is more in the {which}",),
        "test": ("in the {which} you see more digits",),
    },
    "caption": {
        "train": (
            "describe it", "describe all digits", "describe all", "describe the digits",
            "describe what you see", "describe what there is", "describe all that you see",
            "describe all digits and where they stand", "describe the digits that are there",
        ),
        "dev": ("describe the digits that you see",),
        "test": ("describe all digits that there are",),
    },
}  # fmt: skip
KINDS = tuple(FORMS)
PAIRS = ("pair", "more")  # true or false of two scenes


@dataclass(frozen=True)
class Scene:
    """Nine cells, row by row: a digit each, or None."""

    cells: tuple[int | None, ...]

    @property
    def words(self) -> str:
        """The scene in nine words."""
        return " ".join(EMPTY if cell is None else DIGITS[cell] for cell in self.cells)

    @property
    def digits(self) -> list[int]:
        """The digits that are there, in reading order."""
        return [cell for cell in self.cells if cell is not None]

    @property
    def caption(self) -> str:
        """Each digit and its place."""
        there = zip(self.cells, PLACES, strict=True)
        return " and ".join(f"{DIGITS[c]} {place}" for c, place in there if c is not None)


@dataclass(frozen=True)
class Question:
    """A question about `scenes`, its answer and what may be answered (empty: anything)."""

    kind: str
    scenes: tuple[Scene, ...]
    question: str
    text: str
    choices: tuple[str, ...] = ()


def layouts(split: str, seed: int) -> list[tuple[int, ...]]:
    """List which cells are occupied, in the scenes of a split: no two splits share a layout."""
    found = []
    for size in range(FEWEST, MOST + 1):
        every = [tuple(c for c in range(9) if bits >> c & 1) for bits in range(2**9)]
        every = [cells for cells in every if len(cells) == size]
        order = np.random.default_rng((seed, size)).permutation(len(every))
        bounds = [round(share * len(every)) for share in np.cumsum([0, *SHARES.values()])]
        place = list(SHARES).index(split)
        found += [every[i] for i in order[bounds[place] : bounds[place + 1]]]
    return found


class Asker:
    """Draws scenes and questions of one split."""

    def __init__(self, split: str, seed: int, rng: np.random.Generator):
        self.split, self.rng = split, rng
        found = layouts(split, seed)
        sizes = range(FEWEST, MOST + 1)
        self.layouts = {size: [one for one in found if len(one) == size] for size in sizes}

    def scene(self, size: int = 0) -> Scene:
        """Draw a scene, of so many digits or of any number of them."""
        size = size or int(self.rng.integers(FEWEST, MOST + 1))
        cells: list[int | None] = [None] * 9
        for cell in self._one(self.layouts[size]):
            cells[cell] = int(self.rng.integers(10))
        return Scene(tuple(cells))

    def coin(self) -> int:
        """Draw 0 or 1."""
        return int(self.rng.integers(2))

    def fits(self, kind: str, scene: Scene, number: int = 0) -> bool:
        """Say whether a question of this kind (and number: `ask`) has one answer for a scene."""
        if kind == "sum":
            return len(scene.digits) == 2
        if kind == "where":
            return bool(self._unique(scene))
        return kind != "left" or bool(self._beside(scene, number))

    def ask(self, kind: str, scene: Scene, number: int = 0) -> Question:
        """Ask about a scene that fits; an even `number` wants yes or true, an odd one no or false.

        Where kinds ask about two scenes, the second one is drawn.
        """
        return getattr(self, f"_{kind}")(scene, number)

    def _one(self, things):
        return things[int(self.rng.integers(len(things)))]

    def made(self, kind: str, scenes, text: str, choices=(), **words) -> Question:
        """Make a question of a kind: `words` go into a form of words of this split."""
        scenes = scenes if isinstance(scenes, tuple) else (scenes,)
        form = self._one(FORMS[kind][self.split])
        return Question(kind, scenes, form.format(**words), text, tuple(choices))

    def _unique(self, scene: Scene) -> list[int]:
        """Cells whose digit stands nowhere else."""
        there = scene.digits
        return [i for i, c in enumerate(scene.cells) if c is not None and there.count(c) == 1]

    def _beside(self, scene: Scene, number: int) -> list[tuple[int, int]]:
        """Pairs of unique digits (a, b) in which a is left of b, or right of it if odd."""
        cells = self._unique(scene)
        pairs = [(i, j) for i in cells for j in cells if i % 3 < j % 3]
        found = [(scene.cells[i], scene.cells[j]) for i, j in pairs]
        return [(b, a) for a, b in found] if number % 2 else found

    def _which(self, scene: Scene, _: int) -> Question:
        place = self._one([i for i, cell in enumerate(scene.cells) if cell is not None])
        return self.made("which", scene, DIGITS[scene.cells[place]], DIGITS, place=PLACES[place])

    def _where(self, scene: Scene, _: int) -> Question:
        place = self._one(self._unique(scene))
        return self.made("where", scene, PLACES[place], PLACES, a=DIGITS[scene.cells[place]])

    def _count(self, scene: Scene, _: int) -> Question:
        choices = NUMBERS[FEWEST : MOST + 1]
        return self.made("count", scene, NUMBERS[len(scene.digits)], choices)

    def _largest(self, scene: Scene, _: int) -> Question:
        return self.made("largest", scene, DIGITS[max(scene.digits)], DIGITS)

    def _left(self, scene: Scene, number: int) -> Question:
        a, b = self._one(self._beside(scene, number))
        return self.made("left", scene, YES_NO[number % 2], YES_NO, a=DIGITS[a], b=DIGITS[b])

    def _sum(self, scene: Scene, _: int) -> Question:
        return self.made("sum", scene, NUMBERS[sum(scene.digits)], NUMBERS)

    def _caption(self, scene: Scene, _: int) -> Question:
        return self.made("caption", scene, scene.caption)

    def _pair(self, scene: Scene, number: int) -> Question:
        a = self._one(scene.digits)
        other = self._until(lambda: self.scene(), lambda s: (a in s.digits) == (number % 2 == 0))
        scenes = (scene, other) if self.rng.random() < 0.5 else (other, scene)
        return self.made("pair", scenes, TRUE_FALSE[number % 2], TRUE_FALSE, a=DIGITS[a])

    def _more(self, scene: Scene, number: int) -> Question:
        mine = len(scene.digits)
        other = self._until(lambda: self.scene(), lambda s: len(s.digits) != mine)
        larger = 0 if mine > len(other.digits) else 1
        which = ("first", "second")[larger if number % 2 == 0 else 1 - larger]
        answer = TRUE_FALSE[number % 2]
        return self.made("more", (scene, other), answer, TRUE_FALSE, which=which)

    def _until(self, draw: Callable[[], Scene], fine: Callable[[Scene], bool]) -> Scene:
        for _ in range(TRIES):
            if fine(scene := draw()):
                return scene
        raise AssertionError("no scene has the wanted answer")
