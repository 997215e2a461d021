"""Kaldi archives of features: .ark with .scp, written and read through kaldiio.

    for id, x in read("feats.scp"): ...                   # float32 (T, dim); also a bare .ark
    for id, x in read("fbank/feats.scp", extractor): ...  # refused if made by another front end
    x = load(read_scp("feats.scp")["utt1"])               # any one of them

Binary matrices, as `copy-feats` writes them (float, double, compressed). kaldiio would also run the
shell commands of an .scp and open pickles: both are refused here. Format: kaldi-asr.org/doc/io.html
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from features import folder
from features.folder import holds, refuse_other, whole

# what a binary matrix begins with: float, double, compressed in three ways
MATRICES = (b"\0BFM ", b"\0BDM ", b"\0BCM ", b"\0BCM2 ", b"\0BCM3 ")


def read(path, extractor=None) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and features (T, dim) float32 of an .scp or .ark, one after another.

    With an extractor the folder must say (`preset.json`) that this very front end made them. Raises
    ValueError for what is no archive of matrices, is damaged, or holds other features.
    """
    path = Path(path)
    if extractor is not None:
        _same_front_end(path, extractor)
    if path.suffix == ".scp":
        for id, place in read_scp(path).items():
            yield id, load(place)
        return
    kaldiio = _kaldiio()
    with _opened(path) as file:
        while (id := _token(file, path)) is not None:
            _refuse_no_matrix(file, path)
            yield id, _matrix(lambda: kaldiio.matio.read_kaldi(file), f"{path}: {id}")


def read_scp(path) -> dict[str, str]:
    """Id to place (`file.ark:offset`) of an .scp; paths are as they stand there.

    Raises ValueError for lines that are no `id file`, that run a command, or come twice.
    """
    path, places = Path(path), {}
    with _opened(path) as file:
        lines = [line.decode("utf-8", errors="replace") for line in file]  # end at "\n" alone
    for number, line in enumerate(lines, 1):
        id, _, place = line.strip().partition(" ")
        place = place.strip()
        if not place or id in places:
            wrong = f"{id!r} stands there twice" if place else f"wanted 'id file', got {line!r}"
            raise ValueError(f"{path}:{number}: {wrong}; correct the line")
        if "|" in (place[0], place[-1]):
            raise ValueError(
                f"{path}:{number}: runs the command {place!r}, which is refused; "
                "write its output into an archive (copy-feats) first"
            )
        places[id] = place
    return places


def load(place: str) -> np.ndarray:
    """Features (T, dim) float32 at a place of an .scp: `file.ark:offset`, maybe with `[0:99]`."""
    kaldiio = _kaldiio()
    file_name, offset, _ = kaldiio.matio._parse_arkpath(place)
    with _opened(Path(file_name)) as file:
        file.seek(offset or 0)
        _refuse_no_matrix(file, place)
    return _matrix(lambda: kaldiio.load_mat(place), place)


class Writer(folder.Writer):
    """Writes archives: NAME-00.ark with NAME-00.scp, and so on; of each utterance the valid frames.

    An archive without its .scp is not there.
    """

    suffix = ".ark"

    def check(self, id: str, shape: tuple[int, ...]) -> None:
        """Refuse waves, and ids that an .scp cannot hold."""
        if len(shape) != 2:
            raise ValueError(f"{id}: shape {shape}; a Kaldi archive wants frames (T, dim)")
        if len(id.split()) != 1:
            raise ValueError(f"{id!r}: an id with spaces cannot stand in an archive; change it")

    def put(
        self, file, id: str, shape: tuple[int, ...], n: int, slabs: Iterator[np.ndarray]
    ) -> str:
        """Write the valid frames as a binary float matrix; returns its line of the .scp."""
        line = f"{id} {self.path}:{file.tell() + len(id.encode()) + 1}\n"
        size = b"\4" + n.to_bytes(4, "little") + b"\4" + shape[1].to_bytes(4, "little")
        file.write(id.encode() + b" " + MATRICES[0] + size)
        for slab in slabs:
            file.write(slab[:n].data)
            n -= min(n, len(slab))
        return line

    def index(self, path: Path, entries: dict, of: dict) -> None:
        """Write NAME-00.of, then NAME-00.scp."""
        with whole(path.with_suffix(".of")) as file:
            file.write(json.dumps(of).encode())
        with whole(path.with_suffix(".scp")) as file:
            file.write("".join(entries.values()).encode())


def join(path) -> Path:
    """Write `feats.scp`, all of the folder's .scp in order of the ids, as Kaldi wants it."""
    lines = [
        line
        for part in sorted(Path(path).glob("[0-9]*-*.scp"))
        for line in io.BytesIO(part.read_bytes())
    ]
    with whole(Path(path) / "feats.scp") as file:
        file.write(b"".join(sorted(lines)))
    return Path(path) / "feats.scp"


def _same_front_end(path: Path, extractor) -> None:
    if not (path.parent / "preset.json").is_file():
        raise ValueError(
            f"{path}: does not say which front end made it (no preset.json beside it); "
            "read it without an extractor if you know"
        )
    refuse_other(path.parent, holds(extractor))


def _kaldiio():
    try:
        return importlib.import_module("kaldiio")
    except ImportError:
        raise ValueError("Kaldi archives need kaldiio; install it: pip install kaldiio") from None


def _opened(path: Path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _token(file, path: Path) -> str | None:
    try:
        return _kaldiio().matio.read_token(file)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: damaged or no Kaldi archive; write it anew") from None


def _refuse_no_matrix(file, where) -> None:
    """Look at the next bytes, and go back."""
    here = file.tell()
    head = file.read(6)
    file.seek(here)
    if not head.startswith(MATRICES):
        raise ValueError(
            f"{where}: wanted a binary matrix, found {head!r}; "
            "damaged, or text: copy-feats ark,t:FILE ark:OUT"
        )


def _matrix(get, where: str) -> np.ndarray:
    """What kaldiio gives, as float32 (T, dim)."""
    try:
        x = get()
    except Exception as error:  # noqa: BLE001  (its parser raises whatever the bytes make it meet)
        raise ValueError(
            f"{where}: damaged ({type(error).__name__}: {error}); write it anew"
        ) from None
    return np.asarray(x, dtype=np.float32)
