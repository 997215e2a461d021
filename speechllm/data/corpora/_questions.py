"""Questions about named sounds and their answers, balanced: no constant answer scores.

Each kind has its own forms of words, some of them for train, one each for dev and for test alone.
`{x}` is the name of a sound with its article, `{a}` .. `{d}` are bare names. Everything is drawn
from names, so that the same questions serve for sounds that are heard and for names alone.
"""

from dataclasses import dataclass

import numpy as np

FORMS = {
    "class": {
        "train": (
            "what do you hear", "what is this", "what makes this sound", "name the sound",
            "which sound is this", "what is the name of this sound",
        ),
        "dev": ("what is it you hear",),
        "test": ("what sound do you hear",),
    },
    "yes_no": {
        "train": (
            "is there {x}", "do you hear {x}", "is this {x}", "does this sound like {x}",
            "could it be {x}", "is this the sound of {x}", "is {x} in the sound",
        ),
        "dev": ("is it {x} you hear",),
        "test": ("do you hear the sound of {x}",),
    },
    "choice": {
        "train": (
            "is this {a} {b} {c} or {d}", "do you hear {a} {b} {c} or {d}",
            "which of these is it {a} {b} {c} {d}", "choose one of {a} {b} {c} {d}",
            "which sound is this {a} {b} {c} or {d}",
        ),
        "dev": ("which one is it {a} {b} {c} or {d}",),
        "test": ("which one do you hear {a} {b} {c} or {d}",),
    },
    "same": {
        "train": (
            "are both sounds the same", "do both sound alike", "are the two sounds alike",
            "are these the same sound", "do you hear the same sound two times",
        ),
        "dev": ("are both alike",),
        "test": ("are the two sounds the same",),
    },
    "order": {
        "train": (
            "what do you hear {first}", "which sound is {first}", "name the {first} sound",
            "what makes the {first} sound", "what is {first}",
        ),
        "dev": ("what is the {first} sound",),
        "test": ("which sound do you hear {first}",),
    },
    "count": {
        "train": (
            "how many of the two are {x}", "how many sounds are {x}", "count the sound of {x}",
            "how many times do you hear {x}", "how many of these sound like {x}",
        ),
        "dev": ("how many of the sounds are {x}",),
        "test": ("how many of the two sounds are {x}",),
    },
}  # fmt: skip
KINDS = tuple(FORMS)
PAIRS = ("same", "order", "count")  # kinds that ask about two sounds
YES_NO = ("yes", "no")
COUNTS = ("zero", "one", "two")
FIRST = ("first", "second")


@dataclass(frozen=True)
class Question:
    """A question about the sounds `heard`, in order, its answer and what may be answered."""

    kind: str
    heard: tuple[str, ...]
    question: str
    text: str
    choices: tuple[str, ...]


class Asker:
    """Draws questions for one split; `names` maps each name to itself with its article."""

    def __init__(self, names: dict[str, str], split: str, rng: np.random.Generator):
        self.names, self.split, self.rng = names, split, rng

    def ask(self, kind: str, name: str, number: int) -> Question:
        """Make a question about a sound called `name`, and about a second one for some kinds.

        number: walks through the answers, so that each comes as often: a run of numbers that is a
        multiple of 12 is balanced for each name.
        """
        return getattr(self, f"_{kind}")(name, number)

    def _class(self, name: str, _: int) -> Question:
        return self._made("class", (name,), name, tuple(self.names))

    def _yes_no(self, name: str, number: int) -> Question:
        sound = name if number % 2 == 0 else self._others(name, 1)[0]
        return self._made("yes_no", (name,), YES_NO[number % 2], YES_NO, x=self.names[sound])

    def _choice(self, name: str, number: int) -> Question:
        options = self._others(name, 3)
        options.insert(number % 4, name)
        return self._made(
            "choice", (name,), name, tuple(options), **dict(zip("abcd", options, strict=True))
        )

    def _same(self, name: str, number: int) -> Question:
        other = name if number % 2 == 0 else self._others(name, 1)[0]
        return self._made("same", (name, other), YES_NO[number % 2], YES_NO)

    def _order(self, name: str, number: int) -> Question:
        (other,) = self._others(name, 1)
        heard = (name, other) if number % 2 == 0 else (other, name)
        return self._made("order", heard, name, tuple(self.names), first=FIRST[number % 2])

    def _count(self, name: str, number: int) -> Question:
        n = number % 3
        heard = [name] * n + self._others(name, 2)[: 2 - n]
        heard = [heard[i] for i in self.rng.permutation(2)]
        return self._made("count", tuple(heard), COUNTS[n], COUNTS, x=self.names[name])

    def _others(self, name: str, n: int) -> list[str]:
        others = [other for other in self.names if other != name]
        return [others[i] for i in self.rng.permutation(len(others))[:n]]

    def _made(self, kind: str, heard: tuple, text: str, choices: tuple, **words) -> Question:
        forms = FORMS[kind][self.split]
        form = forms[int(self.rng.integers(len(forms)))]
        return Question(kind, heard, form.format(**words), text, choices)
