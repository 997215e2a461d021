"""Archives from a server: resumed where they broke, checked, unpacked once."""

import hashlib
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

_CHUNK = 1 << 20
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Archive:
    """A .tar.gz below the mirror, and its MD5."""

    path: str
    md5: str


def fetch(archive: Archive, mirror: str, folder: Path, holds: str) -> None:
    """Unpack an archive into `folder`, unless `folder/holds` is there; its file is then removed.

    Raises OSError saying which address or file failed, and what to do; run again, it goes on
    where it broke.
    """
    if (folder / holds).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    url = f"{mirror.rstrip('/')}/{archive.path}"
    file = folder / Path(archive.path).name
    if not file.exists():
        _download(url, file, archive.md5)
    _unpack(file, folder, holds)
    file.unlink()


def _download(url: str, file: Path, md5: str) -> None:
    part = file.with_name(file.name + ".part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            _store(answer, part, done, file.name)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range lies past the end: the part is whole already
            raise OSError(f"{url}: the server answers {error.code} {error.reason}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        hint = f"is there a network? Or fetch it yourself and lay it at {file}"
        raise OSError(f"{url}: {reason}; {hint}; what came so far is kept in {part}") from error
    digest = _md5(part)
    if digest != md5:
        part.unlink()
        raise OSError(f"{url}: MD5 is {digest}, wanted {md5}; removed it, run again to fetch anew")
    os.replace(part, file)


def _store(answer, part: Path, done: int, name: str) -> None:
    resumed = answer.status == 206  # 200: the server sends it from the start
    done = done if resumed else 0
    size = answer.headers.get("Content-Length")
    total = done + int(size) if size else None
    with (
        open(part, "ab" if resumed else "wb") as file,
        tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True, disable=None) as bar,
    ):
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise OSError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _unpack(file: Path, folder: Path, holds: str) -> None:
    """Unpack beside and then rename, so that `holds` is never there by half."""
    beside = folder / f".{file.name}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(file) as tar:
            tar.extractall(beside, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise OSError(f"{file}: cannot be unpacked ({error}); remove it and run again") from error
    (folder / holds).parent.mkdir(parents=True, exist_ok=True)
    for extra in (beside / holds).parent.glob("*.TXT"):
        shutil.copy(extra, folder / Path(holds).parent)
    os.replace(beside / holds, folder / holds)
    shutil.rmtree(beside)
