"""Problems of a manifest, and how they are told: each kind once, with a count and three places."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

PLACES = 3  # that are named of each kind
# What differs between two problems of one kind: values behind "is", words in quotes, numbers. A key
# in quotes at the beginning is what the problem is about, and stays.
_VALUE = re.compile(r"^((?:[\w ]+: )?'\w+' is) (?:a )?(?:['\"\[{\d-]|True|False|None|nan|inf).*")
_KEY = re.compile(r"(?:[\w ]+: )?'\w+'|")
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?\d[\d.,%e+-]*")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do about it; `kind` is the same for its like."""

    file: str
    line: int
    id: str
    message: str
    hint: str
    severity: str = "error"
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.id}: {self.message}; {self.hint}"


def kind_of(message: str, paths: Iterable[str] = ()) -> str:
    """What a message has in common with its like: without the files it names, values, numbers."""
    for path in paths:
        message = message.replace(path, "FILE")
    message = _VALUE.sub(r"\1", message)
    key = _KEY.match(message)[0]
    return re.sub(r"\d+", "N", key) + _VARIES.sub("N", message[len(key) :])


@dataclass
class Group:
    """Problems of one kind: how many, and the first of them."""

    first: Problem
    n: int = 0
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line for a single problem, else two: what it is, and where."""
        if self.n == 1:
            return str(self.first)
        one, more = self.first, self.n - len(self.places)
        rest = f" and {more} more" if more else ""
        return (
            f"{one.severity}, {self.n} times: {one.message}; {one.hint}\n"
            f"    {one.file}, lines {', '.join(self.places)}{rest}"
        )


def grouped(problems: Iterable[Problem]) -> list[Group]:
    """Put the problems of a kind together; errors first, then what is most frequent."""
    groups: dict[tuple[str, str], Group] = {}
    for one in problems:
        group = groups.setdefault((one.severity, one.kind or one.message), Group(one))
        group.n += 1
        if len(group.places) < PLACES:
            group.places.append(f"{one.line} ({one.id})")
    return sorted(groups.values(), key=lambda group: (group.first.severity, -group.n))
