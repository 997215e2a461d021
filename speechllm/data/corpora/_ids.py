"""Ids: told apart where a corpus repeats them, and turned into names that no two files share.

Languages likewise get the names that a manifest wants.
"""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from speechllm.tasks import languages

_log = logging.getLogger(__name__)

# What every file system holds as it is, and tells apart: most fold capitals or ways of writing é,
# Windows keeps some names for itself, and what follows a dot may be taken for the ending.
_PLAIN = re.compile(r"[a-z0-9_-]{1,100}")
_KEPT = re.compile(r"con|prn|aux|nul|com\d|lpt\d|.*-[0-9a-f]{16}")


def file_name(id: str) -> str:
    """Name a file after an id: no two ids share one, on any file system.

    An id of small letters, digits, `_` and `-` is its own name. Any other gets 16 digits of its
    SHA-256 behind what can be read of it: "rec/1" is `rec_1-` and 16 digits.
    """
    if _PLAIN.fullmatch(id) and not _KEPT.fullmatch(id):
        return id
    digits = hashlib.sha256(id.encode(errors="surrogatepass")).hexdigest()[:16]
    readable = re.sub(r"[^a-z0-9_-]", "_", id.lower())[:80]
    return f"{readable}-{digits}"


class Names:
    """Ids for recordings that have none: names of files, with suffix where two share the rest.

    Of a part of a file its start in milliseconds follows, of a channel its number. Absolute names
    begin at the folder that all have in common.
    """

    def __init__(self, names: Iterable[str]):
        names = {name.strip() for name in names}
        homes = {os.path.dirname(name) for name in names}
        self._home = os.path.commonpath(homes) if homes and all(map(os.path.isabs, homes)) else ""
        self._stems = Counter(self._stem(name) for name in names)

    def id(self, name: str, start: float | None = None, channel: int | None = None) -> str:
        """Return the id of a recording, or of a part of one."""
        stem = self._stem(name)
        stem = stem if self._stems[stem] <= 1 else self._plain(name)
        stem += "" if start is None or not 0 <= start < 1e7 else f"-{round(start * 1000):08d}"
        return stem if channel is None else f"{stem}-ch{channel}"

    def _stem(self, name: str) -> str:
        return self._plain(os.path.splitext(name.strip())[0])

    def _plain(self, name: str) -> str:
        return name.strip().removeprefix(self._home).strip("/").replace("/", "-")


@dataclass
class Ids:
    """Ids of one manifest: a second recording of the same id gets a number, `903` and `903-2`.

    So it is in FLEURS, whose id names the sentence. 16 bytes of a row are kept, in a dict.

    Attributes:
        n_repeated: how many got a number.
    """

    n_repeated: int = 0
    _seen: dict[bytes, bytes] = field(default_factory=dict)

    def of(self, id: str, content: bytes) -> str:
        """Return the id that a row of this content gets.

        Raises:
            ValueError: a row of this id and of the same content was there already.
        """
        wanted, number, content = id, 1, _hash(content)
        while (before := self._seen.get(_hash(wanted.encode(errors="surrogatepass")))) is not None:
            if before == content:
                raise ValueError(f"{id!r} again, with the same sound and text; remove one of them")
            number += 1
            wanted = f"{id}-{number}"
        self._seen[_hash(wanted.encode(errors="surrogatepass"))] = content
        self.n_repeated += number > 1
        return wanted


def language(name: str, unknown: Counter) -> str:
    """Return the code of a language that a corpus names; one without stays, and is counted."""
    code = languages.from_name(name)
    if code is None:
        unknown[str(name)] += 1
    return code or str(name)


def report(name: str, ids: Ids, unknown: Counter) -> None:
    """Say what was changed, once a manifest."""
    if ids.n_repeated:
        _log.warning(
            "%s: %d recordings had the id of another one and got a number behind it (as -2)",
            name, ids.n_repeated,
        )  # fmt: skip
    if unknown:
        shown = ", ".join(f"{one!r} ({n} rows)" for one, n in unknown.most_common(3))
        _log.warning("%s: no code is known of the languages %s; written as they are", name, shown)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()
