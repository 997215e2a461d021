"""How a sound file is to be read, and how much is truly in it, found in its container.

A header is no authority: programs that write to a pipe leave lengths out or guess them, files are
joined with `cat` and cut off by full disks. `Layout` says what follows from the container itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from features.formats.splice import Piece


@dataclass(frozen=True)
class Part:
    """What libsndfile reads in one go; no `pieces`: the file as it is.

    `n_samples` (per channel) is what the container holds, None where libsndfile's word is good.
    What libsndfile has beyond them comes first with `lead`, last without.
    """

    pieces: tuple[Piece, ...] = ()
    n_samples: int | None = None
    lead: bool = False


@dataclass(frozen=True)
class Layout:
    """The parts of a sound, one after another, and in which words it is cut off ("": it is whole).

    `foreign`: libsndfile reads this kind wrongly or not at all. `unsure`: so many samples
    at the end have to be decoded to know that they are there.
    """

    parts: tuple[Part, ...] = (Part(),)
    cut: str = ""
    foreign: str = ""
    unsure: int = 0


PLAIN = Layout()
