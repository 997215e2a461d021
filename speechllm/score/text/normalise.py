"""Named, versioned text normalisers; name and version stand in the signature of each score.

| name        | what it does |
|---|---|
| none        | nothing; the metric still splits at white space |
| basic       | any language: lower case, no [remarks], symbols and punctuation to spaces |
| basic-marks | basic, but combining marks stay: scripts that write vowels with them |
| whisper-en  | English: basic, and contractions, titles, figures, American spelling |
| open-asr    | English as the Open ASR leaderboard counts it since August 2026 |

`basic` and `whisper-en` are transformers' `BasicTextNormalizer` and `EnglishTextNormalizer` with
Whisper's spelling map, by which most published word error rates are counted. `basic` makes each
combining mark a space, so that Hindi falls apart into consonants and any vowel counts as right.
A version is raised whenever any output changes, so equal signatures are comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass

from speechllm.config import suggest
from speechllm.score.text import english, open_asr


@dataclass(frozen=True)
class Normaliser:
    """A text-to-text function with a name and a version.

    `loses(text)` counts the letters and marks that the normaliser takes from a text, or takes it
    apart at, because it was not made for them.
    """

    name: str
    version: str
    function: Callable[[str], str]
    loses: Callable[[str], int] = lambda text: 0

    def __call__(self, text: str) -> str:
        return self.function(text)

    @property
    def signature(self) -> str:
        """Name and version: "whisper-en:1"."""
        return f"{self.name}:{self.version}"


_ALL = {
    n.name: n
    for n in (
        Normaliser("none", "1", str),
        Normaliser("basic", "1", english.basic, english.marks),
        Normaliser("basic-marks", "1", english.basic_marks),
        Normaliser("whisper-en", "1", english.english, english.not_english),
        Normaliser("open-asr", "2026-08", open_asr.open_asr, english.not_english),
    )
}


def names() -> list[str]:
    """List the normalisers."""
    return list(_ALL)


def get(name: str) -> Normaliser:
    """Return the normaliser called `name`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _ALL:
        raise ValueError(f"no normaliser called {name!r}; {suggest(name, _ALL)}")
    return _ALL[name]
