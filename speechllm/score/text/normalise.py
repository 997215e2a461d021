"""Named, versioned text normalisers; name and version stand in the signature of each score.

| name       | what it does |
|---|---|
| none       | nothing; the metric still splits at white space |
| basic      | any language: lower case, no [remarks], symbols and punctuation to spaces |
| whisper-en | English: basic, and contractions, titles, figures, American spelling |

`basic` and `whisper-en` are transformers' `BasicTextNormalizer` and `EnglishTextNormalizer` with
Whisper's spelling map, by which the Open ASR leaderboard counts. (Its own copy has since begun to
join dotted abbreviations, "u.s." -> "us", and to map "ok" to "okay"; that would be a version 2.)
A version is raised whenever any output changes, so equal signatures are comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass

from speechllm.config import suggest
from speechllm.score.text import english


@dataclass(frozen=True)
class Normaliser:
    """A text-to-text function with a name and a version."""

    name: str
    version: int
    function: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.function(text)

    @property
    def signature(self) -> str:
        """Name and version: "whisper-en:1"."""
        return f"{self.name}:{self.version}"


_ALL = {
    n.name: n
    for n in (
        Normaliser("none", 1, str),
        Normaliser("basic", 1, english.basic),
        Normaliser("whisper-en", 1, english.english),
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
