"""What each utterance of a stored set was made of, so that nothing is taken for something else.

A request is [file, bytes, time of change (ns), start_s, duration_s, channel]; the file is named
relative to the set, so that both can be moved together. An utterance whose file, times or channel
have changed is forgotten, and made anew. One of another file is refused: what refers to it would
be given other sound. One that has no request (older sets) is believed, and counted. Of shards the
requests stand in the index, of archives in NAME-00.of beside NAME-00.scp.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

from features import indexes
from features.folder import whole
from features.sources import Item

START_S = 0.006  # by which a start may differ: times are written with two decimals


def of(item: Item, out) -> list:
    """Request of an item, for a set in the folder `out`; of a file that is gone, without size."""
    try:
        status = os.stat(item.path)
        size, changed = status.st_size, status.st_mtime_ns
    except OSError:
        size = changed = None
    file = os.path.relpath(item.path, out)
    return [file, size, changed, item.start_s, item.duration_s, item.channel]


def same(wanted: list, stored: list | None) -> bool:
    """Whether what is wanted was made; a file that is gone is taken to be what it was."""
    if stored is None:
        return True
    # the file's name, then bytes and time of change, then where in it: of a file that is gone
    # nobody knows bytes and time, so they are not compared
    gone = wanted[1] is None
    return [wanted[0], *wanted[3 if gone else 1 :]] == [stored[0], *stored[3 if gone else 1 :]]


def refuse_others(out, wanted: dict[str, list], there: dict[str, list | None]) -> None:
    """Raise ValueError where an id stands in the set for another file than the one wanted."""
    both = ((id, there[id], one) for id, one in wanted.items() if there.get(id))
    other = [(id, old[0], new[0]) for id, old, new in both if old[0] != new[0]]
    if other:
        id, *names = other[0]
        old, new = (os.path.normpath(os.path.join(out, name)) for name in names)
        raise ValueError(
            f"{out}: holds {id!r} of {old}, wanted of {new} ({len(other)} such ids); give another "
            "--out, or ids that differ"
        )


def made(out, kind: str) -> dict[str, list | None]:
    """Request of each utterance that a set holds, by id; None where the set does not say."""
    requests = {}
    for path in _indexes(Path(out), kind):
        requests |= _entries(path)
    return requests


def forget(out, kind: str, ids: set[str]) -> None:
    """Take utterances out of the indexes of a set; their frames stay where they are, unread."""
    for path in _indexes(Path(out), kind) if ids else ():
        if not ids & _entries(path).keys():
            continue
        if path.suffix == ".json":
            index = indexes.index(path)
            index["ids"] = [None if id in ids else id for id in index["ids"]]
            data = json.dumps(index).encode()
        else:
            lines = io.BytesIO(path.read_bytes()).readlines()  # ends at "\n" alone
            data = b"".join(line for line in lines if line.split(b" ")[0].decode() not in ids)
        with whole(path) as file:
            file.write(data)


def _indexes(out: Path, kind: str) -> list[Path]:
    return sorted(out.glob("[0-9]*-*.json" if kind == "shards" else "[0-9]*-*.scp"))


def _entries(path: Path) -> dict[str, list | None]:
    """Ids and requests of one index."""
    if path.suffix == ".json":
        index = indexes.index(path)
        pairs = zip(index["ids"], index["of"], strict=True)
        return {id: request for id, request in pairs if id is not None}
    from features.archive import read_scp

    beside = path.with_suffix(".of")
    requests = indexes.read(beside, {}) if beside.exists() else {}
    for id, made in requests.items():
        if made is not None and not indexes.is_request(made):
            raise ValueError(f"{beside}: damaged ({id!r}: no request); {indexes.repair(beside)}")
    return {id: requests.get(id) for id in read_scp(path)}
